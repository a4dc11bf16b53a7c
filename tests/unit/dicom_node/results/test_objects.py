"""Result objects say what was found, of whom and by what; they are valid, and the same for the same content."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.exchange import RetractionCode, RetractionRecord
from db.domain.findings import AssessmentRecord, FindingOrigin, FindingRecord, NewFinding, ReaderSize, Verdict
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from dicom_node.results.child import write_once
from dicom_node.results.job import KINDS, Purpose, ReportJob, SourceInstance, expected_objects
from dicom_node.results.objects import ResultsError, make_in_child
from dicom_node.results.secondary_capture import build_pages
from dicom_node.results.source import plain, read_identity
from dicom_node.results.structured_report import build_sr
from dicom_node.results.summary_page import FindingPanel, SummaryText, draw_pages
from inference.calibration.evidence import displayed_limits
from inference.displayed import DisplayedProbability, NoPercentage, Question, SizeClass
from tests.support.enhanced_ct import write_enhanced
from tests.support.factories import CtSeries, Defects, SimpleNodule, ct_series, phantom_of
from tests.support.results import make_objects

MODEL = ModelIdentity("nodule", "1.2.0", "ab" * 32)
MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
IMAGE_LIBRARY = "111028"
NODULE = SimpleNodule((6.0, 20.0, 14.0), 14.0)


@pytest.fixture
def series(tmp_path: Path) -> CtSeries:
    return ct_series(tmp_path / "series", n=12, rows=40, nodules=(NODULE,), shuffle=True)


def shown(question: Question, k: int) -> dict[str, Any]:
    """A record of what is shown where ``k`` of 34 calibration cases were positive."""
    return DisplayedProbability(*displayed_limits(k, 34), 34, k, question, "test").to_json()


DISPLAYED = {"malignancy": shown(Question.MALIGNANCY, 23), "nodule": shown(Question.NODULE, 34)}


def finding(series: CtSeries, **changes: object) -> NewFinding:
    slice_, row, column = NODULE.index
    complete = NewFinding(
        sop_instance_uid=series.sop_instance_uids[int(slice_)],
        frame_number=1,
        row=row,
        column=column,
        position_mm=series.position_mm(NODULE.index),
        diameter_mm=14.0,
        nodule_probability=0.97,
        malignancy_probability=0.67,
        interval=(0.45, 0.82),
        prediction_set=("benign", "malignant"),
        attributes={"density": "part-solid", "volume_mm3": 1436.8, "displayed": DISPLAYED},
    )
    return replace(complete, **changes)  # type: ignore[arg-type]


def job_of(
    series: CtSeries, folder: Path, *findings: NewFinding, reasons: tuple[Reason, ...] = (), **changes: object
) -> ReportJob:
    study, own = series.study_instance_uid, series.series_instance_uid
    record = AnalysisRecord(
        "analysis", "series", own, study, "cd" * 32, MODEL, AnalysisStatus.CURRENT, reasons, "system", 1,
        MOMENT, MOMENT, MOMENT,
    )  # fmt: skip
    records = tuple(
        FindingRecord(str(n), "analysis", own, study, FindingOrigin.MODEL, one, MODEL, None, MOMENT, "system")
        for n, one in enumerate(findings)
    )
    sources = tuple(
        SourceInstance(uid, str(pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID), path)
        for uid, path in zip(series.sop_instance_uids, series.paths, strict=True)
    )
    complete = ReportJob(record, records, sources, folder, "LUNGNODE", "0.1.0", {"temperature": "1.31"})
    return replace(complete, **changes)  # type: ignore[arg-type]


def read_all(job: ReportJob) -> list[Dataset]:
    return [pydicom.dcmread(job.folder / result.path) for result in make_objects(job)]


def report_of(job: ReportJob) -> Dataset:
    """The structured report alone, written and read again."""
    path = job.folder / "report.dcm"
    write_once(build_sr(job, read_identity(job), expected_objects(job)[0]), path)
    return pydicom.dcmread(path)


def groups_of(sr: Dataset) -> list[Dataset]:
    """The measurement groups, the summary first."""
    measurements = next(
        item
        for item in sr.ContentSequence
        if item.ValueType == "CONTAINER" and item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return list(measurements.ContentSequence)


def item_of(container: Dataset, code: str) -> Dataset:
    return next(item for item in container.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == code)


def errors_of(path: Path) -> list[str]:
    """Return all errors that dciodvfy reports."""
    tool = shutil.which("dciodvfy") or str(Path(sys.executable).with_name("dciodvfy"))
    if not Path(tool).exists():
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    checked = subprocess.run([tool, str(path)], capture_output=True, check=False)
    return [line for line in checked.stderr.decode(errors="replace").splitlines() if line.startswith("Error")]


def test_the_report_states_probability_interval_size_and_algorithm(series: CtSeries, tmp_path: Path) -> None:
    sr = report_of(job_of(series, tmp_path / "results", finding(series)))
    _, group = groups_of(sr)
    low = item_of(group, "rated-mal-low")
    assert low.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "%"
    assert low.ConceptNameCodeSequence[0].CodeMeaning == "Probability of a malignant rating by readers, lower limit"
    numbers = {
        name: float(item_of(group, name).MeasuredValueSequence[0].NumericValue)
        for name in ("rated-mal-low", "rated-mal-high", "similar", "similar-mal", "nodule-low", "similar-nodule")
    }
    assert list(numbers.values()) == [49.0, 83.0, 34.0, 23.0, 91.0, 34.0]
    assert item_of(group, "limits").ConceptCodeSequence[0].CodeValue == "two-sided"
    comments = [i.TextValue for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121106"]
    assert comments[:3] == [
        "49 to 83 % (23 of 34 similar)",
        "23 of 34 calibration nodules with a similar score were rated malignant by radiologists (49 to 83 %)",
        "Nodule probability: > 91 % (34 of 34 similar)",
    ]
    assert float(item_of(group, "81827009").MeasuredValueSequence[0].NumericValue) == 14.0
    parameters = [
        item.TextValue for item in group.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "111002"
    ]
    assert "temperature=1.31" in parameters
    assert f"weights_sha256={MODEL.sha256}" in parameters
    assert item_of(group, "111003").TextValue == MODEL.version
    assert item_of(group, "121071").ConceptCodeSequence[0].CodeMeaning == "Nodule"


SMALL = NoPercentage(Question.MALIGNANCY, 8.0, (SizeClass(6, 8, "test split", 22, 0.5753),))
SAID_OF_MALIGNANCY: list[tuple[dict[str, Any], dict[str, float], str | None, str]] = [
    (shown(Question.MALIGNANCY, 32), {"rated-mal-low": 82.0, "similar": 34.0, "similar-mal": 32.0}, "lower",
     "> 82 % (32 of 34 similar)"),
    (shown(Question.MALIGNANCY, 0), {"rated-mal-high": 9.0, "similar": 34.0, "similar-mal": 0.0}, "upper",
     "< 9 % (0 of 34 similar)"),
    (SMALL.to_json(), {}, None, "No percentage below 8 mm"),
    ({}, {}, None, "No percentage"),
]  # fmt: skip


@pytest.mark.parametrize(("record", "numbers", "limits", "text"), SAID_OF_MALIGNANCY)
def test_the_report_says_no_more_of_malignancy_than_its_evidence(
    series: CtSeries, tmp_path: Path, record: dict[str, Any], numbers: dict[str, float], limits: str | None, text: str
) -> None:
    of_nodule = finding(series, malignancy_probability=0.998, attributes={"displayed": {"malignancy": record}})
    job = job_of(series, tmp_path / "results", of_nodule)
    sr = report_of(job)
    _, group = groups_of(sr)
    coded = {
        item.ConceptNameCodeSequence[0].CodeValue: float(item.MeasuredValueSequence[0].NumericValue)
        for item in group.ContentSequence
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodingSchemeDesignator == "99LUNGNODE"
    }
    assert coded == numbers
    kinds = [i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "limits"]
    assert [i.ConceptCodeSequence[0].CodeValue for i in kinds] == ([] if limits is None else [limits])
    everything = sr.to_json()
    assert text in everything
    for certain in ("99.8 %", "100 %", "Probability of cancer"):
        assert certain not in everything
    pr = next(ds for ds in read_all(job) if ds.Modality == "PR")
    label = pr.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue
    assert label == ("1" if limits is None else f"1: {text.split(' (', maxsplit=1)[0]}")


def test_the_region_is_a_circle_around_the_nodule_on_its_slice(series: CtSeries, tmp_path: Path) -> None:
    sr = hd.sr.Comprehensive3DSR.from_dataset(report_of(job_of(series, tmp_path / "r", finding(series))))
    (group,) = sr.content.get_planar_roi_measurement_groups()
    region = item_of(group[0], "111030")
    assert region.GraphicType == "CIRCLE"
    x, y, edge_x, edge_y = region.GraphicData
    assert (x - 0.5, y - 0.5) == (NODULE.index[2], NODULE.index[1])
    assert np.hypot(edge_x - x, edge_y - y) * series.spacing_mm[1] == pytest.approx(7.0)
    reference = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == series.sop_instance_uids[6]
    assert sr.content.get_observer_contexts(observer_type=codes.DCM.Device)


def test_pixels_that_are_not_square_get_an_ellipse_and_no_diameter_a_point(tmp_path: Path) -> None:
    flat = ct_series(tmp_path / "flat", n=8, rows=30, columns=40, spacing_mm=(5.0, 10.0, 8.0))
    marked = finding(flat, sop_instance_uid=flat.sop_instance_uids[3])
    sr = report_of(job_of(flat, tmp_path / "r", marked, replace(marked, diameter_mm=None, attributes={})))
    kinds = [item_of(group, "111030").GraphicType for group in groups_of(sr)[1:]]
    assert kinds == ["ELLIPSE", "POINT"]
    left, right = (item_of(groups_of(sr)[1], "111030").GraphicData[i] for i in (0, 2))
    assert (right - left) * 8.0 == pytest.approx(14.0)


@pytest.mark.parametrize(
    ("count", "reasons", "code"),
    [
        (1, (), "111242"),
        (0, (), "111241"),
        (0, (Reason("not_axial", "The slices are not axial; ≥ 20° tilt."),), "111245"),
    ],
)
def test_the_overall_status_is_coded(
    series: CtSeries, tmp_path: Path, count: int, reasons: tuple[Reason, ...], code: str
) -> None:
    job = job_of(series, tmp_path / "r", *[finding(series)] * count, reasons=reasons)
    sr, page, *others = read_all(job)
    assert len(others) == count
    summary = groups_of(sr)[0]
    assert item_of(summary, "111017").ConceptCodeSequence[0].CodeValue == code
    comments = [
        item.TextValue for item in summary.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "121106"
    ]
    assert "Not a diagnosis" in comments[-1]
    assert len(comments) == 1 + len(reasons) + (code == "111241")
    assert page.pixel_array.shape[1:] == (1280, 3)
    assert 300 < page.Rows < 1000
    for result in expected_objects(job):
        assert errors_of(job.folder / result.path) == []


def test_results_are_of_the_same_patient_and_study_in_new_series(series: CtSeries, tmp_path: Path) -> None:
    source = pydicom.dcmread(series.paths[0], stop_before_pixels=True)
    sr, page, state = read_all(job_of(series, tmp_path / "r", finding(series)))
    for ds in (sr, page, state):
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
                        "StudyTime", "StudyID", "AccessionNumber", "StudyDescription"):  # fmt: skip
            assert ds[keyword].value == source[keyword].value, keyword
        assert ds.SeriesInstanceUID != source.SeriesInstanceUID
    assert sr.SeriesInstanceUID != page.SeriesInstanceUID
    assert (sr.Modality, page.Modality) == ("SR", "OT")
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert {item.ReferencedSOPInstanceUID for item in evidence} == set(series.sop_instance_uids)
    assert page.BurnedInAnnotation == "YES"
    described = [
        entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for library in sr.ContentSequence
        if library.ConceptNameCodeSequence[0].CodeValue == IMAGE_LIBRARY
        for group in library.ContentSequence
        for entry in group.ContentSequence
        if entry.ValueType == "IMAGE"
    ]
    assert described == [series.sop_instance_uids[int(NODULE.index[0])]]


NAMES = [
    ("ISO_IR 192", "Yamada^Tarou=山田^太郎"),
    ("ISO_IR 100", "Müller^Jürgen"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
]


@pytest.mark.filterwarnings("ignore:The string:UserWarning")
@pytest.mark.parametrize(("charset", "name"), NAMES)
def test_names_in_any_character_set_are_copied(tmp_path: Path, charset: str | list[str], name: str) -> None:
    def rename(ds: Dataset, _index: int) -> None:
        ds.SpecificCharacterSet = charset
        ds.PatientName = name

    named = ct_series(tmp_path / "series", n=8, rows=32, defects=Defects(alter=rename))
    job = job_of(named, tmp_path / "r")
    for result in read_all(job):
        assert str(result.PatientName) == name
    for made_object in expected_objects(job):
        assert errors_of(job.folder / made_object.path) == []


@pytest.mark.parametrize(
    "defects",
    [
        Defects(missing=("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber")),
        Defects(missing=("StudyDate", "StudyTime", "StudyID", "ReferringPhysicianName", "SpecificCharacterSet")),
        Defects(missing=("SliceThickness", "FrameOfReferenceUID")),
        Defects(attributes={"PatientSex": ""}),
    ],
)
def test_a_source_that_lacks_attributes_still_gets_valid_results(tmp_path: Path, defects: Defects) -> None:
    poor = ct_series(tmp_path / "series", n=8, rows=32, defects=defects)
    job = job_of(poor, tmp_path / "r", finding(poor))
    make_objects(job)
    for result in expected_objects(job):
        assert errors_of(job.folder / result.path) == []


@pytest.mark.filterwarnings("ignore:The value length|Invalid value for VR|A value of type:UserWarning")
def test_a_source_with_impossible_values_gets_results_with_empty_ones(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path.cwd())!r})
import pydicom
from pathlib import Path
from pydicom.dataset import Dataset
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
for path in Path(sys.argv[1]).glob("*.dcm"):
    ds = pydicom.dcmread(path)
    ds.PatientBirthDate, ds.StudyTime, ds.PatientSex = "19XX0101", "9:15", "UNKNOWN"
    ds.PatientID, ds.PatientName = "P" * 80, "A^B^C^D^E^F^G"
    ds.save_as(path)
"""
    odd = ct_series(tmp_path / "series", n=8, rows=32)
    subprocess.run([sys.executable, "-c", code, str(odd.folder)], check=True, capture_output=True)
    job = job_of(odd, tmp_path / "r")
    results = make_in_child(job)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    try:
        sr = pydicom.dcmread(job.folder / results[0].path)
        assert (sr.PatientID, str(sr.PatientName)) == ("P" * 80, "A^B^C^D^E^F^G")
        assert not sr.PatientBirthDate
        assert not sr.StudyTime
        assert not sr.PatientSex
    finally:
        pydicom.config.settings.reading_validation_mode = pydicom.config.WARN


def test_an_enhanced_source_is_referenced_by_frame(tmp_path: Path) -> None:
    plain_series = ct_series(tmp_path / "plain", n=10, rows=40, nodules=(NODULE,))
    path = write_enhanced(phantom_of(plain_series), tmp_path / "enhanced")
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    complete = replace(
        plain_series, paths=(path,), sop_instance_uids=(str(ds.SOPInstanceUID),),
        study_instance_uid=str(ds.StudyInstanceUID), series_instance_uid=str(ds.SeriesInstanceUID),
    )  # fmt: skip
    marked = finding(plain_series, sop_instance_uid=complete.sop_instance_uids[0], frame_number=7)
    job = job_of(complete, tmp_path / "r", marked)
    sr, _, state = read_all(job)
    assert state.GraphicAnnotationSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber == 7
    region = item_of(groups_of(sr)[1], "111030")
    assert region.GraphicType == "CIRCLE"
    assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber == 7
    for result in expected_objects(job):
        assert errors_of(job.folder / result.path) == []


def test_the_page_shows_the_finding_on_its_slice(series: CtSeries, tmp_path: Path) -> None:
    job = job_of(series, tmp_path / "r", finding(series))
    with_picture = build_pages(job, read_identity(job), [expected_objects(job)[1]])[0].pixel_array
    bright = (with_picture > 200).all(axis=2).mean()
    assert 0.005 < bright < 0.5
    unreadable = tmp_path / "unreadable.dcm"
    unreadable.write_bytes(b"nothing")
    first, *others = job.sources
    blind = replace(job, sources=(first, *(replace(source, path=unreadable) for source in others)))
    without = build_pages(blind, read_identity(blind), [expected_objects(blind)[1]])[0].pixel_array
    assert (without > 200).all(axis=2).sum() < (with_picture > 200).all(axis=2).sum()


def test_only_chosen_kinds_are_made_and_the_report_always(series: CtSeries, tmp_path: Path) -> None:
    def kinds(*new_findings: NewFinding, **how: Any) -> list[str]:
        return [result.kind for result in expected_objects(job_of(series, tmp_path, *new_findings, **how))]

    assert kinds(finding(series)) == ["sr", "sc", "pr"]
    assert kinds(finding(series), kinds=("pr",)) == ["sr", "pr"]
    assert kinds(kinds=("pr",)) == ["sr"]


def test_many_findings_take_several_pages_and_the_rest_is_named() -> None:
    panels = [FindingPanel(f"{n}. Malignancy probability 50 %", ("word " * 60, "x" * 400), None) for n in range(20)]
    pages = draw_pages(SummaryText(("A B",), ("series",), "20 findings"), panels, per_page=4, max_pages=3)
    assert len(pages) == 3
    assert all(page.shape[1:] == (1280, 3) and 1400 < len(page) <= 1760 for page in pages)
    assert len(draw_pages(SummaryText((), (), ""), [])) == 1


def test_findings_beyond_the_pages_stand_in_the_report(series: CtSeries, tmp_path: Path) -> None:
    job = job_of(series, tmp_path / "r", *[finding(series, row=float(n)) for n in range(14)])
    assert len(groups_of(report_of(job))) == 15
    assert [result.kind for result in expected_objects(job)] == ["sr", "sc", "sc", "sc", "pr"]


Change = Callable[[ReportJob], ReportJob]
CHANGES: list[Change] = [
    lambda job: replace(job, analysis=replace(job.analysis, input_digest="ef" * 32)),
    lambda job: replace(job, analysis=replace(job.analysis, model=replace(MODEL, sha256="cd" * 32))),
    lambda job: replace(job, findings=()),
    lambda job: replace(job, algorithm_parameters={"temperature": "1.4"}),
    lambda job: replace(
        job, findings=(replace(job.findings[0], finding=replace(job.findings[0].finding, malignancy_probability=0.1)),)
    ),
]


@pytest.mark.parametrize("change", CHANGES)
def test_other_content_gets_other_uids(series: CtSeries, tmp_path: Path, change: Change) -> None:
    job = job_of(series, tmp_path, finding(series))
    before = {result.sop_instance_uid for result in expected_objects(job)}
    after = {result.sop_instance_uid for result in expected_objects(change(job))}
    assert not before & after


def test_the_same_content_is_made_once_whenever_it_is_asked_for(series: CtSeries, tmp_path: Path) -> None:
    job = job_of(series, tmp_path / "r", finding(series))
    later = replace(job, analysis=replace(job.analysis, id="again", finished_at=MOMENT.replace(year=2027)))
    first = make_objects(job)
    contents = [(job.folder / result.path).read_bytes() for result in first]
    assert make_in_child(later) == first
    write_once(pydicom.dcmread(series.paths[0]), job.folder / first[0].path)
    assert [(job.folder / result.path).read_bytes() for result in first] == contents
    assert not list(job.folder.rglob("*.part"))


def test_an_object_that_was_lost_is_made_again_with_the_same_bytes(series: CtSeries, tmp_path: Path) -> None:
    job = job_of(series, tmp_path / "r", finding(series), kinds=tuple(KINDS))
    results = make_objects(job)
    contents = [(job.folder / one.path).read_bytes() for one in results]
    for one in results:
        (job.folder / one.path).unlink()
    assert make_in_child(job) == results
    assert [(job.folder / one.path).read_bytes() for one in results] == contents


def verdict(kind: Verdict, comment: str = "", reader: str = "ada") -> AssessmentRecord:
    return AssessmentRecord("v1", "0", kind, "", comment, reader, MOMENT + timedelta(minutes=9))


def verified_job(series: CtSeries, folder: Path) -> ReportJob:
    job = job_of(series, folder, finding(series), finding(series, row=10.0), finding(series, row=5.0))
    accepted, rejected, marked = job.findings
    records = (
        replace(accepted, assessment=verdict(Verdict.ACCEPT)),
        replace(rejected, assessment=verdict(Verdict.REJECT, "a vessel – surely", "Zoë^Ω")),
        replace(marked, origin=FindingOrigin.READER, created_by="ada"),
    )
    return replace(job, findings=records, purpose=Purpose.VERIFIED, earlier=(expected_objects(job)[0],))


def test_verdicts_make_a_verified_report_that_names_readers_and_predecessors(series: CtSeries, tmp_path: Path) -> None:
    job = replace(verified_job(series, tmp_path / "r"), reader_names={"ada": "Ada of a provider"})
    (sr,) = read_all(job)
    assert (sr.VerificationFlag, sr.CompletionFlag, sr.PreliminaryFlag) == ("VERIFIED", "COMPLETE", "FINAL")
    assert {str(one.VerifyingObserverName) for one in sr.VerifyingObserverSequence} == {"Ada of a provider^", "Zo? ?^"}
    assert sr.VerifyingObserverSequence[0].VerifyingOrganization
    series_of_before = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    before = series_of_before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert before == job.earlier[0].sop_instance_uid != sr.SOPInstanceUID
    verdicts = [
        [item.ConceptCodeSequence[0].CodeValue for item in group.ContentSequence
         if item.ConceptNameCodeSequence[0].CodeValue == "verdict"]
        for group in groups_of(sr)[1:]
    ]  # fmt: skip
    assert verdicts == [["accept"], ["reject"], ["marked"]]
    assert errors_of(job.folder / expected_objects(job)[0].path) == []
    again = replace(job, findings=(replace(job.findings[0], assessment=None), *job.findings[1:]))
    assert expected_objects(again)[0].sop_instance_uid != sr.SOPInstanceUID


def test_the_reader_s_size_overrides_the_model_s_in_a_verified_report_only(series: CtSeries, tmp_path: Path) -> None:
    uid = series.sop_instance_uids[int(NODULE.index[0])]
    size = ReaderSize(uid, 1, ((10.0, 4.0), (10.0, 16.0)), ((8.0, 10.0), (14.0, 10.0)), 12.0, 6.0)
    attributes: dict[str, object] = {"volume_mm3": 900, "volume_repeatability": 0.25, "mean_diameter_mm": 13.0}
    job = job_of(series, tmp_path / "r", finding(series, attributes=attributes))
    record = replace(job.findings[0], assessment=replace(verdict(Verdict.ACCEPT), size=size))
    verified = replace(job, findings=(record,), purpose=Purpose.VERIFIED, earlier=(expected_objects(job)[0],))
    before, after = (next(ds for ds in read_all(one) if ds.Modality == "SR") for one in (job, verified))
    assert sizes_of(before) == [("Diameter", 14.0, False), ("Diameter", 13.0, False), ("Volume", 900.0, False)]
    assert sizes_of(after) == [
        ("Diameter", 12.0, True),
        ("Diameter", 9.0, True),
        ("Long axis", 12.0, True),
        ("Short axis", 6.0, True),
    ]
    assert errors_of(verified.folder / expected_objects(verified)[0].path) == []
    elsewhere = replace(size, sop_instance_uid="1.2.3")  # an image that came after the analysis
    late = replace(record, assessment=replace(verdict(Verdict.ACCEPT), size=elsewhere))
    (without_axes,) = read_all(replace(verified, findings=(late,), folder=tmp_path / "late"))
    assert [name for name, *_ in sizes_of(without_axes)] == ["Diameter", "Diameter"]


def sizes_of(sr: Dataset) -> list[tuple[str, float, bool]]:
    """Name and value of each size of the first finding, and whether a reader measured it."""
    return [
        (
            item.ConceptNameCodeSequence[0].CodeMeaning,
            float(item.MeasuredValueSequence[0].NumericValue),
            any(part.ConceptNameCodeSequence[0].CodeValue == "370129005" for part in item.get("ContentSequence", [])),
        )
        for item in groups_of(sr)[1].ContentSequence
        if item.ValueType == "NUM"
        and item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue in ("mm", "mm3")
    ]


@pytest.mark.parametrize("code", list(RetractionCode))
def test_a_withdrawal_rejects_everything_that_was_made(series: CtSeries, tmp_path: Path, code: RetractionCode) -> None:
    job = job_of(series, tmp_path / "r", finding(series))
    withdrawal = RetractionRecord("analysis", code, "wrong patient", "ada", MOMENT)
    job = replace(job, purpose=Purpose.RETRACTION, earlier=tuple(expected_objects(job)), retraction=withdrawal)
    (ko,) = read_all(job)
    assert (ko.Modality, ko.ConceptNameCodeSequence[0].CodeValue) == ("KO", code.value)
    rejected = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in ko.ContentSequence
        if "ReferencedSOPSequence" in item
    }
    assert rejected == {result.sop_instance_uid for result in job.earlier}
    assert len(rejected) == 3
    assert errors_of(job.folder / expected_objects(job)[0].path) == []


def test_a_presentation_state_outlines_findings_on_their_slices(series: CtSeries, tmp_path: Path) -> None:
    other = finding(series, sop_instance_uid=series.sop_instance_uids[2], diameter_mm=None)
    job = job_of(series, tmp_path / "r", finding(series), other)
    pr = next(ds for ds in read_all(job) if ds.Modality == "PR")
    assert pr.StudyInstanceUID == series.study_instance_uid
    outlines = {
        item.ReferencedImageSequence[0].ReferencedSOPInstanceUID: item.GraphicObjectSequence[0]
        for item in pr.GraphicAnnotationSequence
    }
    assert set(outlines) == {series.sop_instance_uids[6], series.sop_instance_uids[2]}
    circle = outlines[series.sop_instance_uids[6]]
    x, y, edge_x, edge_y = circle.GraphicData
    assert (x - 0.5, y - 0.5) == pytest.approx((NODULE.index[2], NODULE.index[1]))
    assert np.hypot(edge_x - x, edge_y - y) * series.spacing_mm[1] == pytest.approx(7.0, rel=1e-5)
    assert outlines[series.sop_instance_uids[2]].GraphicType == "POINT"
    assert pr.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue == "1: 49 to 83 %"
    window = pr.SoftcopyVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth) == (-600, 1500)
    assert errors_of(next(job.folder / result.path for result in expected_objects(job) if result.kind == "pr")) == []


@pytest.mark.parametrize("pixel", [(0.0, 0.0), (15.0, 31.0), (31.0, 31.0), (31.4, 12.0)])
def test_an_outline_at_the_border_stays_inside_the_image(tmp_path: Path, pixel: tuple[float, float]) -> None:
    small = ct_series(tmp_path / "small", n=8, rows=32)
    new_finding = finding(small, sop_instance_uid=small.sop_instance_uids[3], row=pixel[0], column=pixel[1])
    pr = next(ds for ds in read_all(job_of(small, tmp_path / "r", new_finding)) if ds.Modality == "PR")
    (item,) = pr.GraphicAnnotationSequence
    numbers = [*item.GraphicObjectSequence[0].GraphicData, *item.TextObjectSequence[0].AnchorPoint]
    assert all(0 <= number <= 32 for number in numbers)


def test_file_names_contain_no_identity(series: CtSeries, tmp_path: Path) -> None:
    for result in expected_objects(job_of(series, tmp_path)):
        assert result.sop_instance_uid not in result.path
        assert series.study_instance_uid not in result.path


def test_an_unreadable_source_is_reported_without_its_values(series: CtSeries, tmp_path: Path) -> None:
    for path in series.paths:
        path.write_bytes(b"CANARY^PHI" * 40)
    job = job_of_broken(series, tmp_path / "r")
    with pytest.raises(ResultsError) as caught:
        make_in_child(job)
    assert "CANARY" not in str(caught.value)
    assert not list((tmp_path / "r").rglob("*.dcm"))


def job_of_broken(series: CtSeries, folder: Path) -> ReportJob:
    record = AnalysisRecord(
        "a", "s", series.series_instance_uid, series.study_instance_uid, "00" * 32, MODEL, AnalysisStatus.CURRENT, (),
        "system", 1, MOMENT, MOMENT, MOMENT,
    )  # fmt: skip
    sources = tuple(
        SourceInstance(uid, "1.2.840.10008.5.1.4.1.1.2", path)
        for uid, path in zip(series.sop_instance_uids, series.paths, strict=True)
    )
    return ReportJob(record, (), sources, folder, "LUNGNODE", "0.1.0")


def test_a_process_without_memory_makes_nothing(series: CtSeries, tmp_path: Path) -> None:
    with pytest.raises(ResultsError):
        make_in_child(job_of(series, tmp_path / "r"), memory_mb=16)


def test_our_own_text_stays_in_the_default_repertoire() -> None:
    assert plain("a–b ≥ 3 µm × 2 – 山") == "a-b >= 3 um x 2 - ?"
    assert build_sr.__doc__
