"""Series whose values shifted by 100 HU raise an alarm: DICOM files, the pipeline, the records, the webhook."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from db import holds
from db.domain import AnalysisOutcome
from db.engine import Database
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.pipeline import analyse_series
from dicom_node.series import StoredInstance
from inference.drift import REFERENCE, WINDOW
from lungnode.alerts import Alerts
from lungnode.monitoring import scanner_drifts
from lungnode.scanners import hold_drifted
from lungnode.settings import AlertSettings, Settings
from tests.factories import answer_series, ct_series, index_series, simple_chest, sqlite_database
from tests.fast_analyzer import FastAnalyzer

N, ROWS, SPACING = 40, 128, (4.0, 1.5, 1.5)


def analysed(folder: Path, shift_hu: int) -> AnalysisOutcome:
    """Write a series as DICOM and let the pipeline make what it makes of it."""
    volume = simple_chest(N, ROWS, ROWS, SPACING) + np.int16(shift_hu)
    who = SeriesIdentity(patient_name="CANARY^PHI", patient_id="P")
    series = ct_series(folder, volume_hu=volume, spacing_mm=SPACING, identity=who)
    instances = [StoredInstance(uid, path) for uid, path in zip(series.sop_instance_uids, series.paths, strict=True)]
    outcome = analyse_series(instances, FastAnalyzer())
    assert outcome.is_analysed, outcome.reasons
    return AnalysisOutcome(measures=outcome.measures)


def record(database: Database, folder: Path, number: int, outcome: AnalysisOutcome) -> None:
    """Record that outcome for a series of another patient, whose lungs are a little denser or less dense."""
    who = SeriesIdentity(patient_name="CANARY^PHI", patient_id=f"P{number}")
    series = ct_series(folder / str(number), n=1, rows=16, seed=number, identity=who)
    summary: dict[str, Any] = dict(outcome.measures["summary"])  # type: ignore[call-overload]
    summary |= {name: summary[name] + number * 7 % 20 - 10 for name in ("lung_hu", "soft_hu")}
    outcome = AnalysisOutcome(measures=outcome.measures | {"summary": summary})
    answer_series(database, index_series(database, series, folder / "store"), outcome)


def test_shifted_series_raise_an_alarm_and_unshifted_ones_do_not(
    tmp_path: Path,
) -> None:
    usual, shifted = analysed(tmp_path / "usual", 0), analysed(tmp_path / "shifted", 100)
    database, told, ahead = sqlite_database(tmp_path), [], [timedelta(0)]
    settings = Settings(home=tmp_path, alerts=AlertSettings(webhooks=("http://127.0.0.1:9/",)))  # type: ignore[arg-type]

    def hook(_url: str, message: dict[str, object]) -> bool:
        told.append(message)
        return True

    clock = lambda: datetime.now(UTC) + ahead[0]  # noqa: E731
    alerts = Alerts(settings, database, tmp_path / "alerts.json", post=hook, clock=clock)
    for number in range(REFERENCE + WINDOW):
        record(database, tmp_path, number, usual)
    alerts.look()
    assert [message for message in told if message["alert"] == "drift"] == []
    for number in range(REFERENCE + WINDOW, REFERENCE + 2 * WINDOW):
        record(database, tmp_path, number, shifted)
    ahead[0] = timedelta(hours=2)
    alerts.look()
    (alarm,) = [message for message in told if message["alert"] == "drift"]
    assert alarm["state"] == "raised"
    assert "CANARY" not in json.dumps(alarm)
    with database.read() as session:
        (scanner,) = scanner_drifts(session)
    assert scanner.series_count == REFERENCE + 2 * WINDOW
    assert scanner.comparison is not None
    assert {"lung_hu", "soft_hu", "hu_shares"} <= set(scanner.comparison.drifted)
    assert hold_drifted(database) == 1
    with database.read() as session:
        (held,) = holds.held_scanners(session).values()
        assert (held.held_by, held.series_count) == ("system", REFERENCE + 2 * WINDOW)
    with database.begin() as session:
        holds.release_scanner(session, held.scanner, "looked at: a new protocol", released_by="chief")
    assert hold_drifted(database) == 0, "what somebody released is not held again for the same series"
