"""``lungnode scanner``: list, quarantine and release scanners."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lungnode.commands.context import open_database, read_settings, who

if TYPE_CHECKING:
    from db.analyses.quarantine import ScannerState

scanner_app = typer.Typer(
    help="Scanners in quarantine: results are stored but not shown or sent.", no_args_is_help=True
)

Key = Annotated[str, typer.Argument(help="Key of the scanner or its first characters (see `lungnode scanner list`).")]
Reason = Annotated[str, typer.Option("--reason", help="Reason, for the audit log and administrators.")]


@scanner_app.command("list")
def list_scanners() -> None:
    """List recent scanners and those in quarantine; prints one JSON object for each."""
    from db.analyses.quarantine import scanner_states

    with open_database(read_settings()) as database, database.read() as session:
        for state in scanner_states(session):
            print(_line(state))


@scanner_app.command("hold")
def hold(key: Key, reason: Reason) -> None:
    """Quarantine a scanner: its results are neither shown nor sent until it is released."""
    from db.analyses.quarantine import quarantine_scanner, scanner_by_key, state_of

    with open_database(read_settings()) as database, database.begin() as session:
        scanner = scanner_by_key(session, key)
        quarantine_scanner(session, scanner, reason, held_by=who())
        state = state_of(session, scanner)
    print(_line(state))


@scanner_app.command("release")
def release(
    key: Key,
    reason: Reason,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Re-analyse the quarantined series and show their results.")
    ] = False,
) -> None:
    """Release a scanner; results from its quarantine stay hidden unless the series are re-analysed."""
    from db.analyses.analyses import rerun_quarantined
    from db.analyses.quarantine import release_scanner, scanner_by_key, state_of

    with open_database(read_settings()) as database, database.begin() as session:
        scanner = scanner_by_key(session, key)
        release_scanner(session, scanner, reason, released_by=who())
        if rerun:
            rerun_quarantined(session, scanner, requested_by=who())
        state = state_of(session, scanner)
    print(_line(state))


def _line(state: ScannerState) -> str:
    hold = state.hold
    line: dict[str, object] = {"key": state.scanner.key, **state.scanner._asdict()}
    line |= {"series_count": state.series_count, "quarantined_count": state.quarantined_count, "held": hold is not None}
    if hold is not None:
        line |= {"reason": hold.reason, "held_by": hold.held_by, "held_at": hold.held_at.isoformat()}
    return json.dumps(line)
