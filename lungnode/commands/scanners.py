"""``lungnode scanner``: scanners whose results are kept from readers and destinations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lungnode.commands.context import open_database, read_settings, who

if TYPE_CHECKING:
    from db.analyses.quarantine import ScannerState

scanner_app = typer.Typer(help="Scanners that are held: analysed, and not shown to readers.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(help="The scanner's key, or its beginning, as `lungnode scanner list` tells.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit trail and for administrators.")]


@scanner_app.command("list")
def list_scanners() -> None:
    """List the scanners that series came from lately, and those that are held; prints one JSON object each."""
    from db.analyses.quarantine import scanner_states

    with open_database(read_settings()) as database, database.read() as session:
        for state in scanner_states(session):
            print(_line(state))


@scanner_app.command("hold")
def hold(key: Key, reason: Reason) -> None:
    """Keep what comes from a scanner from readers and destinations until it is released."""
    from db.analyses.quarantine import hold_scanner, scanner_by_key, state_of

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
    told: dict[str, object] = {"key": state.scanner.key, **state.scanner._asdict()}
    told |= {"series_count": state.series_count, "shadow_count": state.quarantined_count, "held": hold is not None}
    if hold is not None:
        told |= {"reason": hold.reason, "held_by": hold.held_by, "held_at": hold.held_at.isoformat()}
    return json.dumps(told)
