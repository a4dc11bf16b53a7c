"""``lungnode scanner``: listed, held and released by the beginning of a key, with who and why on record."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from db.analyses import quarantine
from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from lungnode.cli import run
from tests.support.factories import answer_series, ct_series, index_series

MEASURES: dict[str, object] = {
    "acquisition": {"Manufacturer": "Maker", "ManufacturerModelName": "One", "ConvolutionKernel": "B60f"},
    "spacing_mm": [1.0, 0.7, 0.7],
}


@pytest.fixture
def database(home_database: Database, home: Path, tmp_path: Path) -> Database:
    """The database of a HOME in which one series was answered."""
    series = ct_series(tmp_path / "series", n=1, rows=16)
    answer_series(
        home_database, index_series(home_database, series, home / "store"), AnalysisOutcome(measures=MEASURES)
    )
    return home_database


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert run(["scanner", *arguments]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    scanner: dict[str, object] = json.loads(line)
    return scanner


def test_a_scanner_is_held_and_released_by_its_key(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    listed = printed(capsys, "list")
    key = str(listed["key"])[:8]
    assert (listed["model"], listed["kernel"], listed["held"]) == ("Maker One", "B60f", False)
    held = printed(capsys, "hold", key, "--reason", "noise went up")
    assert (held["held"], held["held_by"]) == (True, f"command:{getpass.getuser()}")
    assert printed(capsys, "release", key, "--reason", "serviced", "--rerun")["held"] is False
    with database.read() as session:
        assert quarantine.quarantined_scanners(session) == {}
        reasons = [e.event.details.get("reason") for e in audit.recent(session, limit=2)]
    assert reasons == ["serviced", "noise went up"]


def test_what_is_not_known_or_not_held_is_one_line(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    key = str(printed(capsys, "list")["key"])
    for arguments in (
        ["hold", "0000", "--reason", "x"],
        ["release", key, "--reason", "x"],
        ["hold", key, "--reason", " "],
    ):
        assert run(["scanner", *arguments]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
