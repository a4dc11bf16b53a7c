"""Whether the wall clock can be trusted to say how old a study is.

A clock that is set a year ahead would make every study old enough to be removed. So the wall clock is held against
what nobody sets: within one boot against the machine's uptime, and from one boot to the next, where a machine may have
been off for any time, against the latest time that was trusted, of which it may be ahead by some days only. What is
beyond is a jump: retention removes nothing until the clock is right again, or a person says that it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.records import AuditEvent
from db.monitoring import faults
from db.tables.arrivals import SeriesRow
from db.tables.health import ClockRow

TOLERANCE = timedelta(days=1)
"""Corrections by NTP, of a clock that was wrong when the machine was started, are smaller."""
LONGEST_PAUSE = timedelta(days=7)
"""The machine may have been off for so long before a person is asked whether the clock is right."""
LONGEST_SILENCE = timedelta(days=90)
"""Before the clock was ever noted: the newest arrival may be so old, as in an archive that is used no more."""
WRITE_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Moment:
    """What the clocks of a machine say: the wall clock, and the uptime of the boot of that name."""

    wall: datetime
    uptime_s: float
    boot_id: str


def read_clocks() -> Moment:
    """Read the clocks of this machine; suspended time counts as uptime (Linux' CLOCK_BOOTTIME)."""
    try:
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        uptime_s, boot_id = time.monotonic(), ""
    return Moment(datetime.now(UTC), uptime_s, boot_id)


Clocks = Callable[[], Moment]


def observe(session: Session, moment: Moment, keep: timedelta | None = None) -> timedelta | None:
    """Judge the wall clock, and note it where it is trusted.

    Parameters
    ----------
    keep
        The retention that depends on it: shorter ones bear smaller jumps.

    Returns ------- How far the clock jumped (negative: back), None where it is trusted. A jump is a fault
    (``db.monitoring.faults``) as long as it lasts.
    """
    row = session.get(ClockRow, 1)
    jump = _jump(session, row, moment, keep)
    if jump is not None:
        if not faults.is_reported(session, faults.CLOCK):
            faults.report(session, faults.CLOCK, details={"hours": round(jump.total_seconds() / 3600, 1)})
        return jump
    faults.mend(session, faults.CLOCK)
    if row is None or row.boot_id != moment.boot_id:
        _note(session, row, moment)
    elif moment.wall - row.seen_at >= WRITE_EVERY:
        row.seen_at = moment.wall
    return None


def jump_of(session: Session, moment: Moment, keep: timedelta | None = None) -> timedelta | None:
    """Judge the wall clock as ``observe`` does, and record nothing."""
    return _jump(session, session.get(ClockRow, 1), moment, keep)


def accept(session: Session, moment: Moment, *, accepted_by: str) -> None:
    """Trust the wall clock as it is from now on: a person says that it is right."""
    row = session.get(ClockRow, 1)
    hours = 0.0 if row is None else round((moment.wall - row.seen_at).total_seconds() / 3600, 1)
    _note(session, row, moment)
    faults.mend(session, faults.CLOCK)
    audit.append(session, AuditEvent("clock:accepted", accepted_by, details={"hours_since_trusted": hours}))


def _note(session: Session, row: ClockRow | None, moment: Moment) -> None:
    if row is None:
        row = ClockRow(id=1)
        session.add(row)
    row.boot_id, row.uptime_s, row.seen_at = moment.boot_id, moment.uptime_s, moment.wall
    row.booted_at = moment.wall - timedelta(seconds=moment.uptime_s)
    session.flush()


def _jump(session: Session, row: ClockRow | None, moment: Moment, keep: timedelta | None) -> timedelta | None:
    """How far the clock is from what it should be; None where that is within bounds."""
    tolerance = min(TOLERANCE, keep / 24) if keep is not None else TOLERANCE
    if row is not None and row.boot_id == moment.boot_id and moment.boot_id:
        offset = moment.wall - timedelta(seconds=moment.uptime_s) - row.booted_at
        return offset if abs(offset) > tolerance else None
    if row is None:
        seen_at, longest = session.scalars(select(func.max(SeriesRow.last_received_at))).one(), LONGEST_SILENCE
        if seen_at is None:
            return None
    else:
        seen_at, longest = row.seen_at, min(LONGEST_PAUSE, keep) if keep is not None else LONGEST_PAUSE
    pause = moment.wall - seen_at
    return pause if pause > longest or pause < -tolerance else None


def sentence(jump: timedelta) -> str:
    """Say what happened to the clock and what it means."""
    hours = abs(jump.total_seconds()) / 3600
    amount = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours"
    side = "ahead of" if jump > timedelta() else "behind"
    return (
        f"The clock of this machine is {amount} {side} the time that is known "
        "from uptime and arrivals: no study is removed. Correct it; if it is right: `lungnode purge --accept-clock`."
    )
