"""Sizes that readers measured, as the verdicts' table stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.domain.findings import ReaderSize
from db.domain.masks import Line
from db.tables.ground_truth import AssessmentRow


def stored_size(size: ReaderSize, instance_id: str) -> dict[str, Any]:
    """Return a size as JSON, with the instance's own id for its UID."""
    fields = asdict(size) | {"instance": instance_id}
    return {name: value for name, value in fields.items() if name != "sop_instance_uid"}


def read_size(stored: Mapping[str, Any] | None, sop_instance_uids: Mapping[str, str]) -> ReaderSize | None:
    """Return a size from its JSON and the UIDs by instance id; None without one, or where its instance is gone."""
    if stored is None or stored["instance"] not in sop_instance_uids:
        return None
    return ReaderSize(
        sop_instance_uid=sop_instance_uids[stored["instance"]],
        frame_number=int(stored["frame_number"]),
        long_axis=_line(stored["long_axis"]),
        short_axis=_line(stored["short_axis"]),
        long_mm=float(stored["long_mm"]),
        short_mm=float(stored["short_mm"]),
    )


def own_size(session: Session, finding_id: str, reader: str) -> dict[str, Any] | None:
    """Return the size of the latest verdict as JSON, if that verdict is this reader's."""
    statement = select(AssessmentRow.reader, AssessmentRow.size).where(
        AssessmentRow.finding_id == finding_id, AssessmentRow.withdrawn_at.is_(None)
    )
    latest = session.execute(statement.order_by(AssessmentRow.number.desc()).limit(1)).one_or_none()
    return latest.size if latest is not None and latest.reader == reader else None


def _line(stored: Sequence[Sequence[float]]) -> Line:
    (top, left), (bottom, right) = stored
    return (float(top), float(left)), (float(bottom), float(right))
