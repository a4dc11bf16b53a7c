"""``lungnode drift``: input and output drift per scanner."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from lungnode.commands.context import open_database, read_settings


def drift() -> None:
    """Report input and output drift per scanner; prints one JSON object for each."""
    from inference.drift.series_drift import REFERENCE, WINDOW
    from lungnode.monitoring.drift_watch import scanner_drifts
    from lungnode.monitoring.watch_report import run_watch

    with open_database(read_settings()) as database:
        run_watch(database)
        with database.read() as session:
            for drift_state in scanner_drifts(session):
                watched = drift_state.watched
                checks = [{**asdict(check), "checked_at": check.checked_at.isoformat()} for check in drift_state.checks]
                line = {**watched.scanner._asdict(), "key": watched.scanner.key, "series_count": watched.series_count}
                line |= {"is_alarmed": drift_state.is_alarmed, "checks": checks}
                line["series_missing"] = 0 if checks else REFERENCE + WINDOW - watched.series_count
                print(json.dumps(line))


def add_to(app: typer.Typer) -> None:
    """Register the command on ``app``."""
    app.command()(drift)
