"""Check of the wall clock, on which retention relies.

A clock set a year ahead would make every study old enough to be deleted. So the wall clock is compared with the
machine's uptime within one boot and, from one boot to the next, with the latest trusted time, of which it may be ahead
by some days only. A larger difference is a jump: retention deletes nothing until the clock is right again, or an
administrator accepts it.
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
from db.domain.audit import AuditEvent
from db.monitoring import faults
from db.tables.health import ClockRow
from db.tables.studies import SeriesRow

TOLERANCE = timedelta(days=1)
"""Larger than NTP corrections of a clock that was wrong at boot."""
LONGEST_PAUSE = timedelta(days=7)
"""Longest time that the machine may have been off before the clock has to be accepted."""
LONGEST_SILENCE = timedelta(days=90)
"""Largest age of the newest arrival if no clock is on record, as in an archive no longer in use."""
WRITE_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Moment:
    """Clock readings of a machine: wall clock, uptime and boot id."""

    wall: datetime
    uptime_s: float
    boot_id: str


def read_clocks() -> Moment:
    """Read the clocks of this machine; suspended time counts as uptime (Linux CLOCK_BOOTTIME)."""
    try:
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        uptime_s, boot_id = time.monotonic(), ""
    return Moment(datetime.now(UTC), uptime_s, boot_id)


Clocks = Callable[[], Moment]


def observe(session: Session, moment: Moment, keep: timedelta | None = None) -> timedelta | None:
    """Check the wall clock, and record it if it is trusted.

    Parameters
    ----------
    keep
        The retention that depends on it: shorter ones tolerate smaller jumps.

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
    """Trust the wall clock from now on, as an administrator confirmed it."""
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
    """Return the clock's deviation; None if it is within bounds."""
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
    """Describe a jump of the clock and its consequence."""
    hours = abs(jump.total_seconds()) / 3600
    amount = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours"
    side = "ahead of" if jump > timedelta() else "behind"
    return (
        f"The clock of this machine is {amount} {side} the time expected "
        "from uptime and arrivals: no study is deleted. Correct it; if it is right: `lungnode purge --accept-clock`."
    )
