"""Takes the pictures of the pages in ``docs/images``: ``python -m benchmarks.screenshots`` (needs Chromium).

Starts ``lungnode demo`` on free ports with a home of its own, so that what is seen is the generated phantom and never a
person, and ends it afterwards. The answer to an upload is that to a slice of it, clicked on where a finding is.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from benchmarks.receivers import free_port
from lungnode.monitoring.watch_report import run_watch
from tests.browser.conftest import ARGUMENTS, CHOICE_MADE, chromium_path, served
from tests.support.watched_series import rehearsed

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
WIDE: ViewportSize = {"width": 1440, "height": 900}
READY = "Open until Ctrl-C"
PATIENCE_MS = 120_000


@contextmanager
def demonstration() -> Iterator[tuple[str, str]]:
    """Run ``lungnode demo``; gives the address of the pages and the path of the study."""
    with tempfile.TemporaryDirectory(prefix="lungnode-pictures-") as home:
        changes = {
            "LUNGNODE_HOME": home,
            "LUNGNODE_WEB__PORT": str(free_port()),
            "LUNGNODE_DICOM__PORT": str(free_port()),
        }
        command = [sys.executable, "-m", "lungnode", "demo"]
        environment = {**os.environ, **changes, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield f"http://127.0.0.1:{changes['LUNGNODE_WEB__PORT']}", study_path(process)
            finally:
                process.terminate()


def study_path(process: subprocess.Popen[str]) -> str:
    """Wait until the demonstration has its answer, and find the study in what it says."""
    assert process.stdout is not None
    path = ""
    for line in process.stdout:
        match = re.search(r"/studies/[0-9.]+", line)
        path = match[0] if match else path
        if READY in line and path:
            return path
    raise SystemExit("the demonstration ended without an answer")


def settle(page: Page) -> None:
    """Wait until all slices are there, so that no progress is seen."""
    page.locator("[data-pane][data-shown]").wait_for()
    page.locator("[data-loading]").wait_for(state="hidden")


def take(
    browser: Browser, url: str, name: str, *, scheme: str = "dark", act: Callable[[Page], None] | None = None
) -> None:
    """Open a page as a person would, and keep what is seen."""
    context = browser.new_context(viewport=WIDE, color_scheme="light" if scheme == "light" else "dark", locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(CHOICE_MADE)
    page = context.new_page()
    page.goto(url)
    if act:
        act(page)
    page.wait_for_load_state("load")
    page.evaluate("document.fonts.ready")
    page.screenshot(path=IMAGES / f"{name}.png")
    context.close()
    print(name)


def take_all(browser: Browser, url: str, study: str) -> None:
    """Take the picture of each main page."""
    take(browser, f"{url}/", "home", scheme="light")
    take(browser, f"{url}/worklist", "worklist")
    take(browser, f"{url}{study}", "viewer", act=settle)
    take(browser, f"{url}/model", "model")
    with tempfile.TemporaryDirectory() as folder:
        uploaded = first_finding(url, study, Path(folder))
        take(browser, f"{url}/detector", "detector", scheme="light", act=lambda page: upload(page, *uploaded))


def first_finding(url: str, study: str, folder: Path) -> tuple[Path, float, float]:
    """Fetch the instance that the first finding lies on; gives its file and where on it the finding is."""
    finding = requests.get(f"{url}/api/v1{study}", timeout=30).json()["findings"][0]
    series, instance = finding["series_instance_uid"], finding["sop_instance_uid"]
    sent = requests.get(
        f"{url}/dicom-web{study}/series/{series}/instances/{instance}",
        headers={"Accept": "application/dicom"},
        timeout=30,
    )
    sent.raise_for_status()
    file = folder / "phantom.dcm"
    file.write_bytes(sent.content)
    return file, finding["row"], finding["column"]


def upload(page: Page, file: Path, row: float, column: float) -> None:
    """Ask for an answer to one instance, as a person would."""
    page.set_input_files("#image", file)
    page.locator("[data-slice-image]").wait_for()
    page.get_by_label("Row").fill(f"{row:.0f}")
    page.get_by_label("Column").fill(f"{column:.0f}")
    page.get_by_label("Age in years").fill("61")
    page.get_by_label("Female").check()
    page.get_by_label("Smoking, in pack-years").fill("30")
    page.click("[data-submit]")
    page.wait_for_url("**/predictions/*")


def take_monitoring(browser: Browser) -> None:
    """Take the picture of the model in use, of drawn series of invented scanners."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as site:
        rehearsed(site.database)
        run_watch(site.database)
        take(browser, f"{site.url}/monitoring", "monitoring")


def main() -> None:
    """Take all pictures."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the demonstration is ended too
    IMAGES.mkdir(parents=True, exist_ok=True)
    with demonstration() as (url, study), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        take_all(browser, url, study)
        take_monitoring(browser)
        browser.close()


if __name__ == "__main__":
    main()
