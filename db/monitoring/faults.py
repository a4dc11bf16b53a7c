"""Faults of this node that last until they are mended; the administration page, metrics and alerts show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.records import AuditEvent
from db.engine.session import insert_once, now
from db.tables.arrivals import InstanceRow, SeriesRow, StudyRow
from db.tables.health import FaultRow

DAMAGED_FILE = "damaged_file"
"""Bytes of a stored file differ from those that were received; the subject is its path in the store."""
DAMAGED_DATABASE = "damaged_database"
"""SQLite finds pages of the database that contradict each other."""
CLOCK = "clock"
"""The clock of this machine was set, or cannot be judged: retention removes nothing."""
CODES = (DAMAGED_FILE, DAMAGED_DATABASE, CLOCK)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong: since when, how often it was met, and of a file the study that it belongs to."""

    code: str
    subject: str
    count: int
    details: Mapping[str, object]
    since: datetime
    last_at: datetime
    study_instance_uid: str | None = None


def report(session: Session, code: str, subject: str = "", details: Mapping[str, object] | None = None) -> bool:
    """Record that a fault was met; True where it is new, which the audit trail is told."""
    moment, facts = now(session), dict(details or {})
    values = {"code": code, "subject": subject, "count": 1, "details": facts, "since": moment, "last_at": moment}
    if insert_once(session, FaultRow, values):
        audit.append(session, AuditEvent(f"fault:{code}", "system", subject, "failure", facts))
        return True
    row = session.get_one(FaultRow, (code, subject), populate_existing=True)
    row.count, row.details, row.last_at = row.count + 1, facts, moment
    return False


def mend(session: Session, code: str, subject: str = "") -> bool:
    """Record that a fault is no more; True where there was one."""
    row = session.get(FaultRow, (code, subject))
    if row is None:
        return False
    session.delete(row)
    session.flush()
    audit.append(session, AuditEvent("fault:mended", "system", subject, details={"code": code}))
    return True


def is_reported(session: Session, code: str, subject: str = "") -> bool:
    """Whether a fault stands."""
    return session.get(FaultRow, (code, subject)) is not None


def counts(session: Session) -> dict[str, int]:
    """Count the faults that stand, by code; 0 for those that do not."""
    rows = session.execute(select(FaultRow.code, func.count()).group_by(FaultRow.code)).all()
    return dict.fromkeys(CODES, 0) | {row[0]: row[1] for row in rows}


def faults(session: Session, *, code: str | None = None, limit: int = 50) -> tuple[Fault, ...]:
    """List the faults that stand, latest first."""
    statement = select(FaultRow).order_by(FaultRow.last_at.desc(), FaultRow.code, FaultRow.subject).limit(limit)
    if code is not None:
        statement = statement.where(FaultRow.code == code)
    rows = session.scalars(statement).all()
    studies = _studies(session, [row.subject for row in rows if row.code == DAMAGED_FILE])
    return tuple(
        Fault(row.code, row.subject, row.count, row.details, row.since, row.last_at, studies.get(row.subject))
        for row in rows
    )


def _studies(session: Session, paths: Sequence[str]) -> dict[str, str]:
    """Find the studies that stored instances belong to, by their paths, in one pass over the index."""
    if not paths:
        return {}
    statement = (
        select(InstanceRow.path, StudyRow.study_instance_uid)
        .join(SeriesRow, InstanceRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .where(InstanceRow.path.in_(paths))
    )
    return {row.path: row.study_instance_uid for row in session.execute(statement)}
