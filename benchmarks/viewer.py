"""Seconds until the first slice of a study is on the screen, and until all can be scrolled, in a headless Chromium.

Usage: ``python -m benchmarks.viewer --url http://127.0.0.1:8000/studies/UID [--repeat N]``, against a service that runs
and needs no sign-in. Times count from the start of the navigation, with an empty cache each time.
"""

from __future__ import annotations

import os
import shutil
import statistics

from playwright.sync_api import Browser, sync_playwright

from benchmarks.measure import parser, report

SLICES = "Number(document.querySelector('[data-slice]').max)"
MARKS = "Object.fromEntries(performance.getEntriesByType('mark').reverse().map((mark) => [mark.name, mark.startTime]))"
ALL_HERE = "performance.getEntriesByName('viewer:all-slices').length > 0"
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def measured(browser: Browser, url: str) -> dict[str, float]:
    """Open a study once."""
    context = browser.new_context(viewport={"width": 1600, "height": 900})
    try:
        page = context.new_page()
        page.goto(url, timeout=120_000)
        while not page.evaluate(ALL_HERE):  # waiting in the page itself would need what its security policy forbids
            page.wait_for_timeout(50)
        marks = page.evaluate(MARKS)
        return {
            "slices": page.evaluate(SLICES),
            "first paint s": page.evaluate(FIRST_PAINT) / 1000,
            "first slice s": marks["viewer:first-slice"] / 1000,
            "all slices s": marks["viewer:all-slices"] / 1000,
        }
    finally:
        context.close()


def main() -> None:
    """Open the study a few times and report every time, and the medians."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--url", required=True, help="a study's page")
    options = arguments.parse_args()
    named = os.environ.get("LUNGNODE_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=named, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        rows: list[dict[str, object]] = [
            {"run": run + 1, **measured(browser, options.url)} for run in range(options.repeat)
        ]
        browser.close()
    names = [name for name in rows[0] if name != "run"]
    median = {name: statistics.median(float(str(row[name])) for row in rows) for name in names}
    report("viewer", [*rows, {"run": "median", **median}], load_average=os.getloadavg()[0])


if __name__ == "__main__":
    main()
