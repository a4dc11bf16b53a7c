"""Seconds until our viewer and OHIF show a study, side by side: first slice, all slices, three planes.

Usage: ``python -m benchmarks.viewer [--slices 300] [--repeat 3]``. Both read the same study from the same DICOMweb
through the same proxy, in turns, in a headless Chromium with an empty cache; WebGL is drawn by the processor. Times
count from the start of the navigation. A slice is shown when its canvas is no longer of one colour; all are here when
the service has answered every frame; planes are ready when, besides, three canvases are shown. OHIF
(``LUNGNODE_TEST_OHIF``, or fetched from npm) opens its planes by its hanging protocol; ours are opened by their key
once the first slice is there.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.measure import parser, report
from dicom_node.phantom.writer import SeriesIdentity
from tests.browser.conftest import ARGUMENTS, chromium_path, served
from tests.support.factories import ct_series
from tests.support.ohif import VERSION, Front, shown, viewer_folder

PATIENCE_S = 180.0
POLL_MS = 25
LEAST_GREYS = 8
"""A canvas of fewer grey values, sampled at 64 x 64, shows no slice yet."""
GREYS = """() => [...document.querySelectorAll("canvas")].filter((one) => one.clientWidth > 200).map((one) => {
  const sample = new OffscreenCanvas(64, 64).getContext("2d");
  if (one.width === 0 || one.height === 0) return 0;
  sample.drawImage(one, 0, 0, 64, 64);
  const values = sample.getImageData(0, 0, 64, 64).data;
  return new Set(values.filter((_, index) => index % 4 === 0)).size;
})"""


def shown_canvases(page: Page) -> int:
    """Count the canvases that show an image; small ones, as of thumbnails, do not count."""
    greys = page.evaluate(GREYS)
    return sum(1 for count in greys if count >= LEAST_GREYS)


def frames(front: Front) -> int:
    """Count the frames that the service has answered."""
    return len({path for status, path in front.asked if "/frames/" in path and status == 200})


def until(page: Page, started: float, holds: Callable[[], bool]) -> float:
    """Wait until it holds; return the seconds since the start."""
    while not holds():
        if time.monotonic() - started > PATIENCE_S:
            raise TimeoutError(f"nothing shown after {PATIENCE_S:g} s")
        page.wait_for_timeout(POLL_MS)
    return time.monotonic() - started


def times_s(browser: Browser, front: Front, address: str, *, slices: int, planes_key: str | None) -> dict[str, float]:
    """Open a page and return the seconds until the first slice, all slices and, with a key for them, three planes."""
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    try:
        page = context.new_page()
        front.asked.clear()
        started = time.monotonic()
        page.goto(front.url + address, wait_until="commit")
        first = until(page, started, lambda: shown_canvases(page) >= 1)
        if planes_key is None:
            return {"first slice s": first, "all slices s": until(page, started, lambda: frames(front) >= slices)}
        if planes_key:
            page.keyboard.press(planes_key)
        return {
            "planes s": until(page, started, lambda: frames(front) >= slices and shown_canvases(page) >= 3),
        }
    finally:
        context.close()


def main() -> None:
    """Measure both viewers in turns; report the medians."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--slices", type=int, default=300)
    options = arguments.parse_args()
    drawing = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
    usual = [argument for argument in ARGUMENTS if argument != "--disable-gpu"]
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as site, sync_playwright() as playwright:
        identity = SeriesIdentity(patient_name="Phantom^Viewer", patient_id="V-1")
        study = site.index(ct_series(site.folder / "study", n=options.slices, rows=512, identity=identity))
        uid = study.study_instance_uid
        pages = {
            "lungnode": ((f"/studies/{uid}", None), (f"/studies/{uid}", "x")),
            f"OHIF {VERSION}": (
                (f"/viewer?StudyInstanceUIDs={uid}", None),
                (f"/viewer?StudyInstanceUIDs={uid}&hangingprotocolId=mpr", ""),
            ),
        }
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in pages}
        with shown(viewer_folder(), site.url) as front:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=[*usual, *drawing])
            for _ in range(options.repeat):
                for name, openings in pages.items():
                    run: dict[str, float] = {}
                    for address, key in openings:
                        run |= times_s(browser, front, address, slices=options.slices, planes_key=key)
                    measured[name].append(run)
            browser.close()
    rows: list[dict[str, object]] = [
        {"viewer": name, **{part: statistics.median(run[part] for run in runs) for part in runs[0]}}
        for name, runs in measured.items()
    ]
    report("viewer", rows, slices=options.slices, runs=measured, load_average=os.getloadavg()[0])


if __name__ == "__main__":
    main()
