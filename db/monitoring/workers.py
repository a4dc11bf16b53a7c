"""Heartbeats of workers."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.engine.session import insert_once, now
from db.tables.releases import WorkerRow


def beat(session: Session, executor_id: str, version: str) -> None:
    """Record one heartbeat of a worker."""
    if insert_once(
        session,
        WorkerRow,
        {
            "executor_id": executor_id,
            "beats": 1,
            "version": version,
            "started_at": now(session),
            "beat_at": now(session),
        },
    ):
        return
    session.execute(
        update(WorkerRow)
        .where(WorkerRow.executor_id == executor_id)
        .values(beats=WorkerRow.beats + 1, version=version, beat_at=now(session))
    )


def beats(session: Session) -> dict[str, int]:
    """Return the heartbeat counts of all workers, former ones included."""
    return {row.executor_id: row.beats for row in session.execute(select(WorkerRow.executor_id, WorkerRow.beats))}
