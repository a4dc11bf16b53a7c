"""A real headless Chromium against a real server process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from db.engine import Database
from tests.browser.serve import NODULE, SLICES
from tests.unit.webapp.doubles import Study, add_study, finding_at, finish, new_database

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

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
PATIENCE_MS = 20_000
sync_api.expect.set_options(timeout=PATIENCE_MS)


def chromium_path() -> str | None:
    """Where Chromium is, if it is anywhere."""
    named = os.environ.get("LUNGNODE_TEST_CHROMIUM")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return named or next((path for path in found if path), None)


@dataclass(frozen=True)
class Site:
    """A running server and its database."""

    url: str
    database: Database

    def analysed_study(self, *, name: str = "Phantom^Browser", patient_id: str = "B-1") -> Study:
        """A study with three findings: the nodule, a doubtful one and a harmless one."""
        study = add_study(self.database, slices=SLICES, name=name, patient_id=patient_id)
        places = ((24, NODULE.index[1], NODULE.index[2], 0.81), (12, 60.0, 34.0, 0.35), (30, 70.0, 96.0, 0.06))
        finish(
            self.database,
            study,
            [finding_at(study.sop_instance_uids[at], row, column, malignancy=p) for at, row, column, p in places],
        )
        return study


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[Site]:
    database = new_database(folder)
    command = [sys.executable, "-m", "tests.browser.serve", str(folder), *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            yield Site(f"http://127.0.0.1:{port}", database)
        finally:
            process.terminate()
            process.wait(10)
            database.dispose()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="module")
def locked_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(tmp_path_factory.mktemp("locked"), "auth") as made:
        yield made


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium: install it, or name one in LUNGNODE_TEST_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


def is_complaint(message: sync_api.ConsoleMessage) -> bool:
    """Whether the browser complains of our code; a refused request, which it also logs, is none."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


@pytest.fixture
def open_page(browser: sync_api.Browser) -> Iterator[Callable[..., sync_api.Page]]:
    """Open pages; any error in the console or in a script fails the test, as does anything blocked by the policy."""
    contexts, complaints = [], []

    def make(**options: object) -> sync_api.Page:
        options = {"viewport": {"width": 1280, "height": 720}, "locale": "en-GB", **options}
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []
