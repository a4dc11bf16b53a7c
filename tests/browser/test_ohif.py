"""OHIF, the viewer that others use, opens a study of ours over DICOMweb, results included."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.dicomweb import analysed_series, serving
from tests.support.factories import CtSeries
from tests.support.ohif import Front, shown, viewer_folder

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SLICES = 30
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, CtSeries]]:
    viewer = viewer_folder()
    folder = tmp_path_factory.mktemp("archive")
    with serving(folder) as archive:
        series = analysed_series(archive, folder, SLICES)
        with shown(viewer, archive.url.removesuffix("/dicom-web")) as shown_front:
            yield shown_front, series


@pytest.mark.timeout(600)
def test_ohif_lists_and_opens_a_study_with_its_results(front: tuple[Front, CtSeries], browser: Browser) -> None:
    shown_front, series = front
    page = browser.new_page(viewport={"width": 1400, "height": 850})
    page.set_default_timeout(PATIENCE_MS)
    with shown_front.watching(page):
        opens_from_its_list(page, shown_front, series)
        gets_every_slice(page, shown_front)
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
    assert [answer for answer in front.asked if answer[0] >= 400] == []


def loaded(front: Front) -> set[str]:
    """Frames that the viewer got."""
    return {path for status, path in front.asked if "/frames/1" in path and status == 200}
