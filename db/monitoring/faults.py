"""Persistent faults of this node, shown on the administration page, in metrics and in alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.engine.session import insert_once, now
from db.tables.exchange import ResultRow
from db.tables.health import FaultRow
from db.tables.studies import InstanceRow, SeriesRow, StudyRow

DAMAGED_FILE = "damaged_file"
"""A stored file differs from what was received or made; the subject is its path in the store."""
DAMAGED_DATABASE = "damaged_database"
"""SQLite reports inconsistent database pages."""
CLOCK = "clock"
"""The clock of this machine jumped: retention deletes nothing."""
CODES = (DAMAGED_FILE, DAMAGED_DATABASE, CLOCK)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault with its times and count and, for a file, its study."""

    code: str
    subject: str
    count: int
    details: Mapping[str, object]
    since: datetime
    last_at: datetime
    study_instance_uid: str | None = None


def report(session: Session, code: str, subject: str = "", details: Mapping[str, object] | None = None) -> bool:
    """Record an occurrence of a fault; return whether it is new, which is audited."""
    moment, facts = now(session), dict(details or {})
    values = {"code": code, "subject": subject, "count": 1, "details": facts, "since": moment, "last_at": moment}
    if insert_once(session, FaultRow, values):
        audit.append(session, AuditEvent(f"fault:{code}", "system", subject, "failure", facts))
        return True
    row = session.get_one(FaultRow, (code, subject), populate_existing=True)
    row.count, row.details, row.last_at = row.count + 1, facts, moment
    return False


def mend(session: Session, code: str, subject: str = "") -> bool:
    """Clear a fault; return whether there was one."""
    row = session.get(FaultRow, (code, subject))
    if row is None:
        return False
    session.delete(row)
    session.flush()
    audit.append(session, AuditEvent("fault:mended", "system", subject, details={"code": code}))
    return True


def is_reported(session: Session, code: str, subject: str = "") -> bool:
    """Return whether a fault is on record."""
    return session.get(FaultRow, (code, subject)) is not None


def counts(session: Session) -> dict[str, int]:
    """Return the number of faults by code, including zeros."""
    rows = session.execute(select(FaultRow.code, func.count()).group_by(FaultRow.code)).all()
    return dict.fromkeys(CODES, 0) | {row[0]: row[1] for row in rows}


def faults(session: Session, *, code: str | None = None, limit: int = 50) -> tuple[Fault, ...]:
    """List the faults, latest first."""
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
    """Return Study Instance UIDs by path of stored instances and results, in one pass over the index each."""
    if not paths:
        return {}
    instances = (
        select(InstanceRow.path, StudyRow.study_instance_uid)
        .join(SeriesRow, InstanceRow.series_id == SeriesRow.id)
        .join(StudyRow, SeriesRow.study_id == StudyRow.id)
        .where(InstanceRow.path.in_(paths))
    )
    results = (
        select(ResultRow.path, StudyRow.study_instance_uid)
        .join(StudyRow, ResultRow.study_id == StudyRow.id)
        .where(ResultRow.path.in_(paths))
    )
    rows = (row for statement in (instances, results) for row in session.execute(statement))
    return {row.path: row.study_instance_uid for row in rows}
