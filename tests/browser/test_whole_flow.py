"""A reader's morning over a whole service: a study is pushed, appears, is closed, analysed, read and asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from db.audit import trail as audit
from tests.support.factories import SimpleNodule, ct_series
from tests.support.service import Sender, Service

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_MS = 180_000
NEVER_S = 3600.0
"""No series is quiet for so long: what is analysed was closed by hand."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "home", quiet_s=NEVER_S)
    yield service
    service.close()


def test_a_pushed_study_is_closed_analysed_reviewed_and_analysed_again(
    service: Service, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    nodule = SimpleNodule((10.0, 16.0, 12.0), 9.0, hu=900.0)
    series = ct_series(tmp_path / "series", n=20, rows=32, spacing_mm=(2.5, 0.7, 0.7), nodules=(nodule,))
    status = service.start()
    page = open_page()
    page.goto(status["web"]["url"] + "worklist")
    expect(page.locator("[data-live]")).to_have_class("live js-only on")
    expect(page.get_by_role("heading", name="No study yet")).to_be_visible()

    sender = Sender(status["dicom"]["port"])
    sender.send(series.paths)
    assert len(sender.acknowledged) == len(series.paths)
    row = page.locator("tr[data-study]")
    expect(row).to_contain_text("Receiving", timeout=PATIENCE_MS)
    expect(row).to_contain_text("20 images", timeout=PATIENCE_MS)
    page.keyboard.press("j")
    page.keyboard.press("c")
    page.get_by_role("button", name="Analyse now").click()
    expect(row).to_contain_text("Analysed", timeout=PATIENCE_MS)
    expect(row.locator(".prob")).to_be_visible()

    page.keyboard.press("e")
    expect(row).to_contain_text("reviewed by local")
    page.keyboard.press("r")
    page.get_by_role("button", name="Analyse again", exact=True).last.click()
    expect(page.get_by_role("status").filter(has_text="Analysis requested")).to_be_visible()

    with service.database.read() as session:
        entries = audit.recent(session, limit=200)
    acts = [entry.event.action for entry in reversed(entries) if entry.event.actor == "local"]
    assert acts == ["series:forced", "study:reviewed", "analysis:requested"]
