"""Milliseconds until a running service's pages show something in a real browser (first contentful paint), and load.

Usage: ``python -m benchmarks.page_load http://127.0.0.1:8000 [--study UID] [--repeat 7] [--chromium PATH]``. Each load
has an empty cache; sign-in must be off. ``--study`` adds the viewer's page.
"""

from __future__ import annotations

import os
import shutil
import statistics

from playwright.sync_api import Browser, sync_playwright

from benchmarks.measure import parser, report

PATHS = ("/", "/detector", "/model", "/worklist")
PAINTED = "performance.getEntriesByName('first-contentful-paint').length > 0"
TIMES = """() => {
  const [page] = performance.getEntriesByType("navigation");
  return [performance.getEntriesByName("first-contentful-paint")[0].startTime, page.loadEventEnd];
}"""


def times_ms(browser: Browser, address: str) -> tuple[float, float]:
    """Load a page with nothing in the cache; first contentful paint and load event."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = context.new_page()
    page.goto(address, wait_until="load")
    while not page.evaluate(PAINTED):  # waiting in the page itself would need what its security policy forbids
        page.wait_for_timeout(20)
    paint, load = page.evaluate(TIMES)
    context.close()
    return paint, load


def main() -> None:
    """Measure and report."""
    options = parser(__doc__ or "")
    options.add_argument("url")
    options.add_argument("--study", help="a study to open in the viewer, too")
    options.add_argument("--chromium", default=shutil.which("chromium"))
    options.set_defaults(repeat=7)
    asked = options.parse_args()
    rows: list[dict[str, object]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.chromium, args=["--no-sandbox", "--disable-gpu"])
        for path in (*PATHS, *([f"/studies/{asked.study}"] if asked.study else [])):
            paints, loads = zip(*(times_ms(browser, asked.url + path) for _ in range(asked.repeat)), strict=True)
            rows.append(
                {
                    "page": path,
                    "paint_median_ms": statistics.median(paints),
                    "paint_worst_ms": max(paints),
                    "load_median_ms": statistics.median(loads),
                }
            )
        browser.close()
    report("page_load", rows, load_average=os.getloadavg()[0])


if __name__ == "__main__":
    main()
