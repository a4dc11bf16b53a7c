"""Findings of the analysed reconstruction on the other series of its frame of reference."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from db.analyses import analyses, reconstructions
from db.domain.reconstructions import Reconstruction
from dicom_node.phantom.writer import SeriesIdentity
from tests.browser.conftest import Site
from tests.browser.test_viewer import OWN, middle_of, nodule_on_screen, opened, shows
from tests.support.factories import CtSeries, Defects, SimpleNodule, ct_series, simple_chest
from tests.support.serve import NODULE, SPACING_MM, chest
from tests.support.webapp_doubles import MODEL, finding_at, finish

pytestmark = pytest.mark.browser
FRAME = "1.2.3.4"
THICK_SLICES = 20
MIDDLE = THICK_SLICES // 2
THICK_MM = (12.0, 3.5, 3.5)


def written(site: Site, seed: str, number: int, frame: str, thin: CtSeries | None = None) -> CtSeries:
    """A series of the study: the thin one, or a thick one with the nodule where the thin one has it."""
    identity = SeriesIdentity(patient_name="Phantom^Browser", uid_seed=seed, series_number=number)
    defects = Defects(attributes={"FrameOfReferenceUID": frame})
    folder = site.folder / seed / str(number)
    if thin is None:
        return ct_series(folder, volume_hu=chest(), spacing_mm=SPACING_MM, identity=identity, defects=defects)
    volume_hu = simple_chest(THICK_SLICES, 96, 96, THICK_MM)
    origin_mm = [-(size - 1) / 2 * mm for size, mm in zip(volume_hu.shape, THICK_MM, strict=True)]
    zyx_mm = thin.position_mm(NODULE.index)[::-1]
    index = tuple((at - start) / mm for at, start, mm in zip(zyx_mm, origin_mm, THICK_MM, strict=True))
    nodule = SimpleNodule(index, NODULE.diameter_mm)
    return ct_series(
        folder, volume_hu=volume_hu, spacing_mm=THICK_MM, nodules=(nodule,), identity=identity, defects=defects
    )


def test_a_finding_is_marked_on_every_series_of_its_frame_of_reference(site: Site, shared_page: Page) -> None:
    seed = uuid4().hex
    thin = written(site, seed, 1, FRAME)
    thick, other = written(site, seed, 2, FRAME, thin), written(site, seed, 3, "1.2.3.5", thin)
    study, *_ = [site.index(series) for series in (thin, thick, other)]
    position_mm = thin.position_mm(NODULE.index)
    finding = finding_at(
        thin.sop_instance_uids[24], *NODULE.index[1:], diameter_mm=NODULE.diameter_mm, position_mm=position_mm
    )
    stated = {**finding.attributes, "frame_of_reference_uid": FRAME}
    finish(site.database, study, [replace(finding, attributes=stated)])

    page = opened(shared_page, site, study)
    page.locator(f"[data-series='{thick.series_instance_uid}']").click()
    shows(page, MIDDLE)
    page.keyboard.press("n")
    nearest = int(
        np.argmin([abs(thick.position_mm((index, 0, 0))[2] - position_mm[2]) for index in range(THICK_SLICES)])
    )
    shows(page, THICK_SLICES - 1 - nearest)  # from head to feet
    expect(page.locator(".mark.selected")).to_have_count(1)
    assert nodule_on_screen(page) == pytest.approx(middle_of(page.locator(".mark.selected")), abs=3)

    page.locator(f"[data-series='{other.series_instance_uid}']").click()
    shows(page, MIDDLE)
    expect(page.locator(".mark")).to_have_count(0)
    page.keyboard.press("n")  # of another frame: its own series is opened
    shows(page, OWN)
    expect(page.locator(f"[data-series='{thin.series_instance_uid}']")).to_have_attribute("aria-current", "true")


def test_a_series_that_was_not_chosen_is_analysed_on_request(site: Site, shared_page: Page) -> None:
    seed = uuid4().hex
    thin = written(site, seed, 1, FRAME)
    thick = written(site, seed, 2, FRAME, thin)
    best, other = site.index(thin), site.index(thick)
    measures = Reconstruction(frame_of_reference_uid=FRAME, coverage_mm=(0.0, 240.0), slice_mm=6.0, lung_ml=4000.0)
    with site.database.begin() as session:
        requested = [
            analyses.request_analysis(session, study.series_id, MODEL, requested_by="system") for study in (other, best)
        ]
        analyses.start_analysis(session, requested[0].id)
        by_analysis = {requested[0].id: replace(measures, slice_mm=12.0), requested[1].id: measures}
        assert not reconstructions.begin(session, requested[0].id, by_analysis)

    page = shared_page
    page.goto(f"{site.url}/studies/{best.study_instance_uid}")
    reason = "Another reconstruction of this acquisition was analysed"
    rail = page.locator("[data-series-list]")
    expect(rail.locator(".not_analysed")).to_contain_text(reason)
    expect(rail.locator("[data-analyse]")).to_have_count(1)
    rail.get_by_role("button", name="Analyse this series").click()
    expect(rail.locator(".not_analysed")).to_have_count(0)
    with site.database.read() as session:
        pending = analyses.pending_analyses(session)
    (asked,) = (each for each in pending if each.series_id == other.series_id)
    assert asked.is_explicit
