"""Every kind of caveat reaches every result object that states the answer that it limits."""

from __future__ import annotations

from dataclasses import replace
from string import Formatter
from typing import Any

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset

from db.domain.caveats import NO_NODULE_FOUND, Caveat
from db.domain.findings import AssessmentRecord, Verdict
from db.domain.reasons import Reason
from dicom_node.results import summary_page
from dicom_node.results.job import Purpose, ReportJob
from tests.support.factories import CtSeries, SimpleNodule, ct_series
from tests.support.results import make_objects
from tests.unit.dicom_node.results.test_objects import MOMENT, errors_of, finding, groups_of, job_of

NODULE = SimpleNodule((6.0, 20.0, 14.0), 14.0)


def stated(kind: Caveat) -> Reason:
    """State a kind with a number in each of its places."""
    return kind.stated(**dict.fromkeys((name for _, name, _, _ in Formatter().parse(kind.value.text) if name), "3"))


ALL = tuple(stated(kind) for kind in Caveat)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> CtSeries:
    return ct_series(tmp_path_factory.mktemp("series"), n=12, rows=40, nodules=(NODULE,))


def limited(job: ReportJob, *caveats: Reason) -> ReportJob:
    return replace(job, analysis=replace(job.analysis, caveats=caveats))


@pytest.fixture(scope="module")
def result_datasets(series: CtSeries, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """The objects of an answer with every caveat, and the report that a reader verified, read back."""
    folder = tmp_path_factory.mktemp("results")
    job = limited(job_of(series, folder, finding(series)), *ALL)
    verdict = AssessmentRecord("a", "0", Verdict.ACCEPT, "", "", "Reader", MOMENT)
    verified = replace(job, purpose=Purpose.VERIFIED, findings=(replace(job.findings[0], assessment=verdict),))
    read = {one.kind: pydicom.dcmread(folder / one.path) for one in make_objects(job)}
    verified = replace(verified, earlier=(make_objects(job)[0],))
    (report,) = make_objects(verified)
    assert errors_of(folder / report.path) == []
    return read | {"verified": pydicom.dcmread(folder / report.path)}


@pytest.mark.parametrize("kind", Caveat)
@pytest.mark.parametrize("outlet", ["sr", "verified"])
def test_a_report_states_every_kind_as_a_code_and_in_words(
    result_datasets: dict[str, Dataset], outlet: str, kind: Caveat
) -> None:
    hd.sr.Comprehensive3DSR.from_dataset(result_datasets[outlet])
    items = groups_of(result_datasets[outlet])[0].ContentSequence
    texts = [item.TextValue for item in items if item.ValueType == "TEXT"]
    codes = [
        item.ConceptCodeSequence[0].get("CodeValue") or item.ConceptCodeSequence[0].LongCodeValue
        for item in items
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "caveat"
    ]
    assert stated(kind).text in texts
    assert codes.count(kind.code) == 1


@pytest.mark.parametrize("kind", Caveat)
def test_the_summary_image_names_every_kind_in_its_comments(result_datasets: dict[str, Dataset], kind: Caveat) -> None:
    assert stated(kind).text in result_datasets["sc"].ImageComments


def drawn(monkeypatch: pytest.MonkeyPatch, *caveats: Reason) -> tuple[str, int]:
    """The text of a page that is drawn with caveats and four findings, and its height."""
    texts: list[str] = []
    line = summary_page._line

    def listen(draw: Any, at: tuple[float, float], text: str, *rest: Any, **more: Any) -> None:
        texts.append(text)
        line(draw, at, text, *rest, **more)

    monkeypatch.setattr(summary_page, "_line", listen)
    text = summary_page.SummaryText(("A^B",), ("Series",), NO_NODULE_FOUND, (), tuple(one.text for one in caveats))
    panels = [summary_page.FindingPanel(f"{n}. finding", ("last line",), None) for n in range(4)]
    (page,) = summary_page.draw_pages(text, panels)
    return " ".join(texts), page.shape[0]


def test_the_summary_image_shows_every_kind_and_grows_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text, height = drawn(monkeypatch, *ALL)
    assert not [caveat.code for caveat in ALL if caveat.text not in text]
    assert height > drawn(monkeypatch)[1] + 34 * len(ALL)
    assert height < summary_page.MAX_HEIGHT


def test_an_answer_without_findings_says_that_this_is_no_clear_chest(series: CtSeries, tmp_path: Any) -> None:
    job = limited(job_of(series, tmp_path), stated(Caveat.LUNGS_BEYOND_SLICES))
    objects = make_objects(job)
    sr = pydicom.dcmread(job.folder / objects[0].path)
    comments = [item.TextValue for item in groups_of(sr)[0].ContentSequence if item.ValueType == "TEXT"]
    assert comments.index(NO_NODULE_FOUND) < comments.index(stated(Caveat.LUNGS_BEYOND_SLICES).text)
    assert [errors_of(job.folder / one.path) for one in objects] == [[], []]


def test_other_caveats_make_other_objects(series: CtSeries, tmp_path: Any) -> None:
    job = job_of(series, tmp_path)
    assert limited(job, *ALL[:1]).uid("sr") != job.uid("sr")


def test_a_doubt_about_a_finding_stands_with_it(series: CtSeries, tmp_path: Any) -> None:
    doubt = "The sub-models disagree."
    job = job_of(series, tmp_path, finding(series, attributes={"doubts": [doubt]}))
    sr = pydicom.dcmread(job.folder / make_objects(job)[0].path)
    assert doubt in [item.TextValue for item in groups_of(sr)[1].ContentSequence if item.ValueType == "TEXT"]
