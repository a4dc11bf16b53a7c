"""Holding scanners to shadow: the commands, and what holds one by itself when its images have changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lungnode.opening import open_database, read_settings, who

if TYPE_CHECKING:
    from db.engine import Database
    from db.holds import ScannerState

scanner_app = typer.Typer(help="Scanners that are held: analysed, and not shown to readers.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help="The scanner's key, or its beginning, as `lungnode scanner list` tells.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit trail and for administrators.")]


@scanner_app.command("list")
def list_scanners() -> None:
    """List the scanners that series came from lately, and those that are held; prints one JSON object each."""
    from db.holds import scanner_states

    with open_database(read_settings()) as database, database.read() as session:
        for state in scanner_states(session):
            print(_line(state))


@scanner_app.command("hold")
def hold(key: Key, reason: Reason) -> None:
    """Keep what comes from a scanner from readers and destinations until it is released."""
    from db.holds import hold_scanner, scanner_by_key, state_of

    with open_database(read_settings()) as database, database.begin() as session:
        scanner = scanner_by_key(session, key)
        hold_scanner(session, scanner, reason, held_by=who())
        state = state_of(session, scanner)
    print(_line(state))


@scanner_app.command("release")
def release(
    key: Key,
    reason: Reason,
    rerun: Annotated[bool, typer.Option("--rerun", help="Have what was held analysed again, and then shown.")] = False,
) -> None:
    """Show what comes from a scanner from now on; what was held stays in shadow unless it is analysed again."""
    from db.analyses import rerun_held
    from db.holds import release_scanner, scanner_by_key, state_of

    with open_database(read_settings()) as database, database.begin() as session:
        scanner = scanner_by_key(session, key)
        release_scanner(session, scanner, reason, released_by=who())
        if rerun:
            rerun_held(session, scanner, requested_by=who())
        state = state_of(session, scanner)
    print(_line(state))


def _line(state: ScannerState) -> str:
    hold = state.hold
    told: dict[str, object] = {"key": state.scanner.key, **state.scanner._asdict()}
    told |= {"series_count": state.series_count, "shadow_count": state.shadow_count, "held": hold is not None}
    if hold is not None:
        told |= {"reason": hold.reason, "held_by": hold.held_by, "held_at": hold.held_at.isoformat()}
    return json.dumps(told)


def hold_drifted(database: Database) -> int:
    """Hold every scanner whose latest series look unlike its first ones; tells how many were not held before.

    One that somebody released is judged anew only by a whole further block of series.
    """
    from db.holds import hold_scanner, is_held, latest_hold
    from inference.drift import WINDOW
    from lungnode.monitoring import scanner_drifts

    count = 0
    with database.begin() as session:
        for one in scanner_drifts(session):
            scanner, series_count = one.watched.scanner, one.watched.series_count
            last = latest_hold(session, scanner)
            if not one.drifted or is_held(session, scanner):
                continue
            if last is None or series_count >= last.series_count + WINDOW:
                reason = "unlike its first series: " + ", ".join(one.drifted)
                hold_scanner(session, scanner, reason, held_by="system", series_count=series_count)
                count += 1
    return count
