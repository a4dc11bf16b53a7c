"""A real headless Chromium against a real server process."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, expect, sync_playwright

from db.database import Database
from dicom_node.phantom.writer import SeriesIdentity
from tests.support.factories import CtSeries, ct_series, index_series
from tests.support.serve import NODULE, SPACING_MM, chest
from tests.support.service import until
from tests.support.webapp_doubles import Study, finding_at, finish, new_database

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHOICE_MADE = "document.cookie.includes('lungnode_hide_model=') || (document.cookie = 'lungnode_hide_model=no; path=/')"
PATIENCE_MS = 120_000
"""A machine that is busy is no failure."""
expect.set_options(timeout=PATIENCE_MS)


def chromium_path() -> str | None:
    """Return the path of Chromium, or None."""
    named = os.environ.get("LUNGNODE_TEST_CHROMIUM")
    paths = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return named or next((path for path in paths if path), None)


def intercept(page: Page, url: str, answer: Callable[[Route], None]) -> None:
    """Answer requests of an open page to a URL pattern instead of the server.

    Chromium confirms an interception before the page's own process has it: a request made at once may still reach
    the server. This returns when a request has been seen to be intercepted.
    """
    probe = "/livez?intercepted"
    page.route(f"**{probe}", lambda route: route.fulfill(status=204))
    page.route(url, answer)
    until(lambda: page.evaluate(f"() => fetch('{probe}').then(({{ status }}) => status)"), lambda status: status == 204)


@dataclass(frozen=True)
class Site:
    """A running server and its database."""

    url: str
    database: Database
    folder: Path

    def stored_study(self, *, name: str = "Phantom^Browser", patient_id: str = "B-1", date: str = "20260114") -> Study:
        """A study of one series, as it was received."""
        seed = uuid4().hex
        identity = SeriesIdentity(
            patient_name=name,
            patient_id=patient_id,
            study_date=date,
            accession_number="A-4711",
            study_description="CT chest",
            series_description="Thin 1.0 lung",
            uid_seed=seed,
        )
        written = ct_series(self.folder / seed, volume_hu=chest(), spacing_mm=SPACING_MM, identity=identity)
        return self.index(written)

    def index(self, written: CtSeries) -> Study:
        """Put a written series into store and index."""
        series_id = index_series(self.database, written, self.folder / "store")
        return Study(written.study_instance_uid, written.series_instance_uid, written.sop_instance_uids, series_id)

    def analysed_study(self, *, name: str = "Phantom^Browser", patient_id: str = "B-1") -> Study:
        """A study with three findings: the nodule, a doubtful one and a harmless one."""
        study = self.stored_study(name=name, patient_id=patient_id)
        places = ((24, NODULE.index[1], NODULE.index[2], 0.81), (12, 60.0, 34.0, 0.35), (30, 70.0, 96.0, 0.06))
        finish(
            self.database,
            study,
            [
                finding_at(study.sop_instance_uids[at], row, column, malignancy=p, diameter_mm=NODULE.diameter_mm)
                for at, row, column, p in places
            ],
        )
        return study


@pytest.fixture(scope="session", autouse=True)
def bundle() -> None:
    """The pages' modules as they stand; ``make`` has bundled them already, someone at work may not have."""
    pages = (ROOT / "frontend" / "src" / "pages").glob("*.ts")
    built = [ROOT / "webapp" / "static" / "built" / f"{page.stem}.js" for page in pages]
    sources = [path for path in (ROOT / "frontend" / "src").rglob("*") if path.is_file()]
    with (ROOT / "frontend" / "vite.config.js").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers share one bundle
        newest = max(path.stat().st_mtime for path in sources)
        if not all(path.is_file() and path.stat().st_mtime >= newest for path in built):
            subprocess.run([sys.executable, "frontend/assets.py"], cwd=ROOT, check=True)


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Site]:
    database = new_database(folder)
    command = [sys.executable, "-m", "tests.support.serve", str(folder), *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            yield Site(f"http://127.0.0.1:{port}", database, folder)
        finally:
            process.terminate()
            process.wait(60)
            database.dispose()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("site")) as served_site:
        yield served_site


@pytest.fixture(scope="module")
def locked_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("locked"), "auth") as served_site:
        yield served_site


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Browser]]:
    """Start Chromium, with arguments besides the usual ones."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium: install it, or name one in LUNGNODE_TEST_CHROMIUM")
    with sync_playwright() as playwright, ExitStack() as stack:

        def make(*arguments: str) -> Browser:
            browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments])
            stack.callback(browser.close)
            return browser

        yield make


@pytest.fixture(scope="session")
def browser(launch: Callable[..., Browser]) -> Browser:
    return launch()


def is_complaint(message: ConsoleMessage) -> bool:
    """Return True for an error of our code; refused requests, which the browser also logs, do not count."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


OpenPage = Callable[..., Page]


@contextmanager
def watched(browser: Browser) -> Iterator[OpenPage]:
    """Open pages; any error in the console or in a script fails at the end, as does anything blocked by the policy.

    A verdict selects the next unread finding only where ``advances`` is given, and the worklist asks for a blind read
    or not only where ``is_first_visit`` is.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def make(*, advances: bool = False, is_first_visit: bool = False, **options: Any) -> Page:
        options = {"viewport": {"width": 1280, "height": 720}, "locale": "en-GB", **options}
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        if not advances:
            context.add_init_script("localStorage.setItem('advance', 'no')")
        if not is_first_visit:
            context.add_init_script(CHOICE_MADE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages of this test."""
    with watched(browser) as make:
        yield make


@pytest.fixture(scope="module")
def shared_page(browser: Browser) -> Iterator[Page]:
    """One page that the tests of a module take turns with: scripts are fetched and compiled once."""
    with watched(browser) as make:
        yield make()
