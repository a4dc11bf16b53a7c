"""``lungnode drift`` checks again and prints a line for each scanner."""

from __future__ import annotations

import json

import pytest

from db.database import Database
from lungnode.cli import run
from tests.support.watched_series import Recorder, Source


def test_each_scanner_is_a_line(home_database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder(home_database)
    recorder.record(Source(), 60)
    recorder.record(Source(shift_hu=80), 20)
    recorder.record(Source("Phantom Two"), 7)
    assert run(["drift"]) == 0
    drifted, new = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (drifted["model"], drifted["series_count"], drifted["is_alarmed"]) == ("Phantom One", 80, True)
    assert [bool(check["drifted"]) for check in drifted["checks"]] == [False, True]
    assert "hu_shares" in drifted["checks"][-1]["drifted"]
    assert (new["series_count"], new["series_missing"], new["checks"]) == (7, 53, [])
