"""Verification of the audit trail in constant memory, and anchors of its head."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, exists, select, text
from sqlalchemy.orm import Session

from db.audit.chain import ChainKey, Head
from db.domain.audit import AuditVerification
from db.domain.errors import AuditKeyError
from db.engine.files import replace_synced
from db.tables.accounts import UserRow
from db.tables.analyses import PredictionRow
from db.tables.audit import AuditEventRow, AuditHeadRow
from db.tables.studies import StudyRow

if TYPE_CHECKING:
    from db.database import Database

BATCH = 2000
PROBLEM_LIMIT = 100
"""Problems listed one by one; further ones are counted."""
COLUMNS = tuple(AuditEventRow.__table__.columns)
TRIGGERS = frozenset(
    {
        "audit_events_no_update",
        "audit_events_no_delete",
        "audit_events_in_order",
        "audit_head_no_insert",
        "audit_head_no_delete",
        "audit_head_forward",
    }
)
POSTGRES_TRIGGERS = TRIGGERS | {"audit_events_no_truncate", "audit_head_no_truncate"}


@dataclass(slots=True)
class _Findings:
    """Problems; the first ``PROBLEM_LIMIT`` are listed, further ones counted."""

    texts: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.texts) < PROBLEM_LIMIT:
            self.texts.append(problem)

    def summary(self) -> tuple[str, ...]:
        more = self.count - len(self.texts)
        return (*self.texts, f"and {more} more problems") if more else tuple(self.texts)


def verify(database: Database, anchor: Path | None = None) -> AuditVerification:
    """Check every event, the head, the triggers and, if given, an anchor written by ``write_anchor``.

    Raises
    ------
    AuditKeyError
        If the anchor file cannot be read or was made with another key.
    """
    key = ChainKey(database.audit_key)
    anchored = _read_anchor(anchor, key) if anchor is not None else None
    problems = _Findings()
    with database.read() as session, _any_text(session):
        last, count = _check_events(session, key, problems, anchored)
        _check_head(session, key, problems, last)
        _check_protection(session, problems)
        if not count and _has_records(session):
            problems.add("the trail is empty although there are records")
    if anchored is not None and last.sequence < anchored.sequence:
        problems.add(f"events {last.sequence + 1} to {anchored.sequence} were there when the anchor was written")
    return AuditVerification(event_count=count, head=last.mac, problems=problems.summary())


def write_anchor(database: Database, path: Path) -> Head:
    """Write the head of the chain to a file, to be stored where the database's owner cannot change it.

    A later ``verify`` with the file detects a trail rolled back or truncated before it. Refuses to replace an anchor
    that the trail does not match.

    Raises
    ------
    AuditKeyError
        If the trail (up to the earlier anchor, and at its head) does not match the key.
    """
    key = ChainKey(database.audit_key)
    with database.read() as session:
        head, head_mac = _head(session)
        if head is None or (head.sequence and head_mac != key.head_mac(head)):
            raise AuditKeyError("the audit trail's head does not fit the key: run `lungnode audit verify`")
        if path.exists() and not _holds(session, _read_anchor(path, key)):
            raise AuditKeyError("the audit trail does not fit the anchor that is there: run `lungnode audit verify`")
    content = {"sequence": head.sequence, "mac": head.mac, "seal": key.head_mac(head)}
    replace_synced(path, f"{json.dumps(content)}\n".encode("ascii"), mode=0o666)
    return head


@contextmanager
def _any_text(session: Session) -> Iterator[None]:
    """Decode invalid SQLite text with surrogates, so that it is reported rather than raised."""
    raw: Any = session.connection().connection.dbapi_connection
    if session.get_bind().dialect.name != "sqlite":
        yield
        return
    raw.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    try:
        yield
    finally:
        raw.text_factory = str


def _read_anchor(path: Path, key: ChainKey) -> Head:
    try:
        content = json.loads(path.read_text(encoding="ascii"))
        head = Head(int(content["sequence"]), str(content["mac"]))
        seal = str(content["seal"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuditKeyError("the anchor file cannot be read") from error
    if seal != key.head_mac(head):
        raise AuditKeyError("the anchor file was altered, or made with another key")
    return head


def _holds(session: Session, anchored: Head) -> bool:
    """Return whether the trail has the event that an anchor names (always for an empty trail's anchor)."""
    statement = select(AuditEventRow.mac).where(AuditEventRow.sequence == anchored.sequence)
    return anchored.sequence == 0 or session.scalars(statement).one_or_none() == anchored.mac


def _check_events(session: Session, key: ChainKey, problems: _Findings, anchored: Head | None) -> tuple[Head, int]:
    """Check the chain; after a bad event its stored digest is used, so that each problem is reported once."""
    last, count = Head(0, ""), 0
    for row in _rows(session):
        count += 1
        if row.sequence != last.sequence + 1:
            problems.add(_gap(last.sequence, row.sequence))
        if not _fits(row, last, key):
            problems.add(f"event {row.sequence} was altered, or does not follow the event before it")
        if anchored is not None and row.sequence == anchored.sequence and row.mac != anchored.mac:
            problems.add(f"event {row.sequence} is not the one that the anchor names")
        last = Head(row.sequence, row.mac)
    return last, count


def _rows(session: Session) -> Iterator[Row[*tuple[Any, ...]]]:
    """Yield all events by sequence, one batch in memory at a time (a server-side cursor on PostgreSQL)."""
    statement = select(*COLUMNS).order_by(AuditEventRow.sequence).execution_options(yield_per=BATCH)
    yield from session.execute(statement)


def _fits(row: Row[*tuple[Any, ...]], last: Head, key: ChainKey) -> bool:
    try:
        return bool(row.mac == key.event_mac(last.mac, row._mapping))  # noqa: SLF001 (SQLAlchemy's public name)
    except (TypeError, ValueError):
        return False  # a column was given a value of a type that we never write


def _gap(before: int, after: int) -> str:
    if after <= before:
        return f"event {after} stands where it cannot"
    if after == before + 2:
        return f"event {before + 1} is missing"
    return f"events {before + 1} to {after - 1} are missing"


def _head(session: Session) -> tuple[Head | None, str]:
    row = session.execute(select(AuditHeadRow.sequence, AuditHeadRow.mac, AuditHeadRow.head_mac)).one_or_none()
    return (Head(row.sequence, row.mac), row.head_mac) if row else (None, "")


def _check_head(session: Session, key: ChainKey, problems: _Findings, last: Head) -> None:
    head, head_mac = _head(session)
    if head is None:
        problems.add("the head of the trail is missing")
        return
    if head.sequence > last.sequence:
        problems.add(f"events {last.sequence + 1} to {head.sequence} are missing at the end")
    elif head != last:
        problems.add(f"the head names event {head.sequence}, the last is {last.sequence}, or their digests differ")
    if (head.sequence or last.sequence) and head_mac != key.head_mac(head):
        problems.add("the head of the trail was altered, or made with another key")


def _check_protection(session: Session, problems: _Findings) -> None:
    if session.get_bind().dialect.name == "postgresql":
        # tgenabled A: fires always, also where session_replication_role would leave ordinary triggers out
        statement = text(
            "SELECT tgname FROM pg_trigger WHERE tgenabled = 'A' AND NOT tgisinternal"
            " AND tgrelid IN ('audit_events'::regclass, 'audit_head'::regclass)"
        )
        expected = POSTGRES_TRIGGERS
    else:
        statement = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        expected = TRIGGERS
    for name in sorted(expected - set(session.scalars(statement))):
        problems.add(f"the trigger {name} is missing or off: the trail is not protected")


def _has_records(session: Session) -> bool:
    tables = (StudyRow, PredictionRow, UserRow)
    return any(session.scalars(select(exists(select(table)))).one() for table in tables)
