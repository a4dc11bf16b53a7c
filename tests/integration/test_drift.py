"""Series whose values shifted by 100 HU raise an alarm: DICOM files, the pipeline, the records, the webhook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from db.analyses import quarantine
from db.domain.analyses import AnalysisOutcome
from db.monitoring.drift_observations import latest_report, watched_scanners
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.series.pipeline import analyse_series
from dicom_node.series.types import StoredInstance
from inference.drift.series_drift import REFERENCE, WINDOW
from lungnode.monitoring.alerts import Alerts
from lungnode.monitoring.drift_watch import collect_finished, quarantine_drifted, scanner_drifts
from lungnode.monitoring.watch_report import run_watch
from lungnode.settings.notices import AlertSettings
from lungnode.settings.service import Settings
from tests.support.factories import ct_series, simple_chest, sqlite_database
from tests.support.fast_analyzer import FastAnalyzer
from tests.support.watched_series import Recorder, Source

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


def of_patient(number: int, outcome: AnalysisOutcome) -> dict[str, object]:
    """Summary of another patient, whose lungs are a little denser or less dense."""
    summary: dict[str, Any] = dict(outcome.measures["summary"])  # type: ignore[call-overload]
    summary |= {name: summary[name] + number * 7 % 20 - 10 for name in ("lung_hu", "soft_hu")}
    return outcome.measures | {"summary": summary}


def test_shifted_series_raise_an_alarm_and_unshifted_ones_do_not(
    tmp_path: Path,
) -> None:
    usual, shifted = analysed(tmp_path / "usual", 0), analysed(tmp_path / "shifted", 100)
    database, notifications = sqlite_database(tmp_path), []
    settings = Settings(home=tmp_path, alerts=AlertSettings(webhooks=("http://127.0.0.1:9/",)))  # type: ignore[arg-type]

    def hook(_url: str, message: dict[str, object]) -> bool:
        notifications.append((message["alert"], message["state"]))
        assert "CANARY" not in json.dumps(message)
        return True

    alerts, recorder = Alerts(settings, database, tmp_path / "alerts.json", post=hook), Recorder(database)

    def block(number: int, outcome: AnalysisOutcome) -> list[tuple[object, object]]:
        """Record a block of series, check for drift, and return the notifications."""
        notifications.clear()
        first = REFERENCE + (number - 1) * WINDOW if number else 0
        recorder.record_measures(*(of_patient(at, outcome) for at in range(first, REFERENCE + number * WINDOW)))
        run_watch(database)
        alerts.notify()
        return [notification for notification in notifications if notification[0] == "drift"]

    assert block(0, usual) == []
    assert block(1, usual) == []
    assert block(2, shifted) == [("drift", "raised")]
    with database.read() as session:
        (scanner,) = scanner_drifts(session)
        at, report = latest_report(session) or (None, {})
    assert scanner.watched.series_count == REFERENCE + 2 * WINDOW
    assert {"lung_hu", "soft_hu", "hu_shares"} <= set(scanner.drifted)
    assert at is not None
    assert "CANARY" not in json.dumps(report)
    assert quarantine_drifted(database) == 1
    with database.read() as session:
        (held,) = quarantine.quarantined_scanners(session).values()
        assert (held.held_by, held.series_count) == ("system", REFERENCE + 2 * WINDOW)
    with database.begin() as session:
        quarantine.release_scanner(session, held.scanner, "looked at: a new protocol", released_by="chief")
    assert quarantine_drifted(database) == 0, "what somebody released is not held again for the same series"
    assert block(3, usual) == [], "one block without drift ends no alarm"
    assert block(4, usual) == [("drift", "cleared")]


def test_a_look_reads_only_what_is_new(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path)
    recorder = Recorder(database)
    recorder.record(Source(refused=0.0), 3)
    assert collect_finished(database) == 3
    assert collect_finished(database) == 0
    recorder.record(Source(refused=1.0), 1)
    assert collect_finished(database) == 2
    with database.read() as session:
        (watched,) = watched_scanners(session)
    assert watched.series_count == 4, "what was refused unread is not counted as a series of the scanner"
