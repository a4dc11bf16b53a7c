"""OHIF, the viewer that others use, opens a study of ours over DICOMweb, results included."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from db import analyses, findings
from db.domain import AnalysisOutcome
from db.session import new_id, now
from db.tables import ResultRow, StudyRow
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.results import make_in_child
from dicom_node.results_job import ReportJob, SourceInstance
from tests.browser.ohif import Front, shown, viewer_folder
from tests.factories import CtSeries, SimpleNodule, answer_series, ct_series, index_series
from tests.integration.dicomweb_support import Archive, serving
from tests.unit.webapp.doubles import finding_at

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SLICES = 30
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, CtSeries]]:
    viewer = viewer_folder()
    folder = tmp_path_factory.mktemp("archive")
    with serving(folder) as archive:
        series = analysed_series(archive, folder)
        with shown(viewer, archive.url.removesuffix("/dicom-web")) as made:
            yield made, series


def analysed_series(archive: Archive, folder: Path) -> CtSeries:
    """A chest with a nodule, a report and a summary page."""
    identity = SeriesIdentity(patient_name="Phantom^Ohif", patient_id="OHIF-1")
    nodule = SimpleNodule((15.0, 100.0, 170.0), 16.0)
    series = ct_series(folder / "ct", n=SLICES, rows=256, nodules=(nodule,), identity=identity)
    series_id = index_series(archive.database, series, archive.store.root)
    found = finding_at(series.sop_instance_uids[15], 100, 170)
    analysis_id = answer_series(archive.database, series_id, AnalysisOutcome((found,)))
    with archive.database.read() as session:
        analysis = analyses.analysis_record(session, analysis_id)
        assert analysis is not None
        job = ReportJob(
            analysis=analysis,
            findings=findings.findings_of_analysis(session, analysis_id),
            sources=tuple(
                SourceInstance(one.sop_instance_uid, one.sop_class_uid, archive.store.root / one.path)
                for one in analyses.analysis_instances(session, analysis_id)
            ),
            folder=archive.store.root / "results",
            station="LUNGNODE",
            software_version="test",
        )
    keep(archive, analysis_id, job)
    return series


def keep(archive: Archive, analysis_id: str, job: ReportJob) -> None:
    """Make the result objects and put them into the index."""
    for made in make_in_child(job):
        ds = pydicom.dcmread(job.folder / made.path, stop_before_pixels=True)
        with archive.database.begin() as session:
            session.add(
                ResultRow(
                    id=new_id(),
                    analysis_id=analysis_id,
                    study_id=session.scalars(select(StudyRow.id)).one(),
                    sop_instance_uid=made.sop_instance_uid,
                    sop_class_uid=made.sop_class_uid,
                    series_instance_uid=str(ds.SeriesInstanceUID),
                    series_number=int(ds.SeriesNumber),
                    modality=str(ds.Modality),
                    instance_number=int(ds.InstanceNumber),
                    kind=made.kind,
                    path=f"results/{made.path}",
                    created_at=now(session),
                )
            )


@pytest.mark.timeout(600)
def test_ohif_lists_and_opens_a_study_with_its_results(front: tuple[Front, CtSeries], browser: Browser) -> None:
    made, series = front
    page = browser.new_page(viewport={"width": 1400, "height": 850})
    page.set_default_timeout(PATIENCE_MS)
    with made.watching(page):
        opens_from_its_list(page, made, series)
        gets_every_slice(page, made)
    if folder := os.environ.get("LUNGNODE_TEST_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / "ohif.png"))
    page.close()


def opens_from_its_list(page: Page, front: Front, series: CtSeries) -> None:
    page.goto(front.url)
    expect(page.get_by_text("Phantom, Ohif").first).to_be_visible(timeout=PATIENCE_MS)
    page.goto(f"{front.url}/viewer?StudyInstanceUIDs={series.study_instance_uid}")
    expect(page.locator("canvas").first).to_be_visible(timeout=PATIENCE_MS)
    for word in ("CT", "OT", "SR"):
        expect(page.get_by_text(word, exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text(f"(1/{SLICES})")).to_be_visible(timeout=PATIENCE_MS)


def gets_every_slice(page: Page, front: Front) -> None:
    ends_at = time.monotonic() + PATIENCE_MS / 1000
    while len(loaded(front)) < SLICES and time.monotonic() < ends_at:
        page.wait_for_timeout(500)
    assert len(loaded(front)) >= SLICES
    assert [told for told in front.asked if told[0] >= 400] == []


def loaded(front: Front) -> set[str]:
    """Frames that the viewer got."""
    return {path for status, path in front.asked if "/frames/1" in path and status == 200}
