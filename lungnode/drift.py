"""``lungnode drift``: whether series and answers of each scanner are still like the first ones."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from lungnode.commands.context import open_database, read_settings


def drift() -> None:
    """Tell for each scanner whether its series and answers are still as at the beginning; a JSON object each."""
    from inference.drift.series_drift import REFERENCE, WINDOW
    from lungnode.monitoring.drift_watch import scanner_drifts
    from lungnode.monitoring.watch_report import look

    with open_database(read_settings()) as database:
        look(database)
        with database.read() as session:
            for one in scanner_drifts(session):
                checks = [{**asdict(check), "checked_at": check.checked_at.isoformat()} for check in one.checks]
                told = {**one.watched.scanner._asdict(), "key": one.watched.scanner.key}
                told |= {"series_count": one.watched.series_count, "is_alarmed": one.is_alarmed, "checks": checks}
                told["series_missing"] = 0 if checks else REFERENCE + WINDOW - one.watched.series_count
                print(json.dumps(told))


def add_to(app: typer.Typer) -> None:
    """Make these commands of ``lungnode``."""
    app.command()(drift)
