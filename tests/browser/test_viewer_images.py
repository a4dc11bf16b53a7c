"""Pictures under harder conditions: compressed frames, no WebGL, another orientation, and the shipped models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.spec import NoduleKind, NoduleSpec, PhantomSpec
from dicom_node.phantom.writer import SeriesIdentity
from tests.browser.conftest import Site, served, watched
from tests.browser.test_viewer import LUNG, OWN, grey_at, middle_of, opened, place_of, shows
from tests.support.factories import Defects, ct_series
from tests.support.serve import NODULE, SPACING_MM, chest
from tests.support.webapp_doubles import Study

pytestmark = pytest.mark.browser

SIDE_PX = 384
FEW = slice(18, 30)
"""Slices about the nodule: enough to open at it."""


def stored(site: Site, *, transfer_syntax: str = "explicit", defects: Defects | None = None) -> Study:
    """A few slices of the chest, written in some way."""
    name = f"{transfer_syntax}-{defects is not None}"
    written = ct_series(
        site.folder / name,
        volume_hu=chest()[FEW],
        spacing_mm=SPACING_MM,
        identity=SeriesIdentity(patient_id=f"I-{name}", uid_seed=name),
        transfer_syntax=transfer_syntax,
        defects=defects,
    )
    return site.index(written)


def shown(page: Page, site: Site, study: Study) -> None:
    """Open the slice that shows the middle of the nodule."""
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    middle = len(range(*FEW.indices(40))) // 2
    shows(page, middle)
    page.locator("#slice").fill(str(FEW.stop - round(NODULE.index[0])))
    shows(page, FEW.stop - round(NODULE.index[0]) - 1)


@pytest.mark.parametrize("transfer_syntax", ["rle", "jpegls", "j2k", "jpegll"])
def test_compressed_frames_are_decoded_in_the_browser(site: Site, shared_page: Page, transfer_syntax: str) -> None:
    shown(shared_page, site, stored(site, transfer_syntax=transfer_syntax))
    assert grey_at(shared_page, NODULE.index[1], NODULE.index[2]) > 200
    assert 20 < grey_at(shared_page, *LUNG) < 110


def test_a_series_stored_the_other_way_round_says_so(site: Site, shared_page: Page) -> None:
    prone = Defects(orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    shown(shared_page, site, stored(site, defects=prone))
    letters = {edge: shared_page.locator(f"[data-orient={edge}]").inner_text() for edge in ("left", "right", "top")}
    assert letters == {"left": "L", "right": "R", "top": "P"}


def test_without_webgl_it_draws_on_a_plain_canvas(site: Site, launch: Callable[..., Browser]) -> None:
    with watched(launch("--disable-3d-apis")) as make:
        page = opened(make(), site, site.analysed_study(patient_id="I-CPU"))
        assert not page.evaluate("Boolean(document.createElement('canvas').getContext('webgl2'))")
        assert grey_at(page, NODULE.index[1], NODULE.index[2]) > 200
        assert grey_at(page, *LUNG) < 110
        mark = middle_of(page.locator(".mark.selected"))
        assert mark == pytest.approx(place_of(page, *NODULE.index[1:]), abs=1.5)
        page.keyboard.press("m")
        page.mouse.click(*place_of(page, 63.5, 31.5))
        expect(page.locator(".finding.selected")).to_contain_text("marked by local")
        assert middle_of(page.locator(".mark.selected")) == pytest.approx(place_of(page, 63.5, 31.5), abs=1.5)
        page.keyboard.press("ArrowDown")
        shows(page, OWN + 1)


@pytest.mark.slow
def test_a_nodule_that_a_reader_points_at_is_answered_by_the_shipped_models(
    tmp_path_factory: pytest.TempPathFactory, shared_page: Page
) -> None:
    spec = PhantomSpec(
        slices=28,
        rows=SIDE_PX,
        columns=SIDE_PX,
        pixel_spacing_mm=0.93,
        vessels=False,
        nodules=(NoduleSpec(NoduleKind.SOLID, 14.0, side="left"),),
    )
    phantom = make_phantom(spec)
    (nodule,) = phantom.nodules
    folder = tmp_path_factory.mktemp("models")
    with served(folder, "models") as site:
        written = ct_series(folder / "phantom", volume_hu=phantom.volume_hu, spacing_mm=phantom.spacing_mm)
        study = site.index(written)
        page = shared_page
        page.goto(f"{site.url}/studies/{study.study_instance_uid}")
        shows(page, 14)
        own = spec.slices - 1 - round(nodule.index[0])
        page.locator("#slice").fill(str(own + 1))
        shows(page, own)
        page.keyboard.press("m")
        page.mouse.click(*place_of(page, *nodule.index[1:], side_px=SIDE_PX))
        chosen = page.locator(".finding.selected")
        expect(chosen.locator(".value")).to_contain_text("%")
        diameter = chosen.locator("dt:text-is('Diameter') + dd").inner_text()
        assert float(diameter.split()[0]) == pytest.approx(14.0, abs=4)
        middle = place_of(page, *nodule.index[1:], side_px=SIDE_PX)
        assert middle_of(page.locator(".mark.selected")) == pytest.approx(middle, abs=6)
        with page.expect_response("**/attention.png?map=attention") as answered:
            page.get_by_label("Attention", exact=True).check()
        assert answered.value.status == 200
        expect(page.locator("[data-attention-image]")).to_have_count(1)
