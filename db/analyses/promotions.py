"""Promotion and rollback of the live nodule model; without one, the bundle of the settings is live.

The latest row is the pointer that every worker and web process follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.audit import AuditEvent
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.models import ModelIdentity, PromotionKind
from db.engine.session import checked_json, free_text, lock_names, now, record_of
from db.tables.models import PromotionRow

NONE = 0
"""Number of the state before any promotion."""


@dataclass(frozen=True, slots=True)
class PromotedBundle:
    """A bundle in the store: ``files`` are paths relative to the store's root; ``sha256`` is its own digest."""

    model: ModelIdentity
    sha256: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromotionRecord:
    """One change of the live model; ``bundle`` is None if the bundle of the settings is live again."""

    number: int
    kind: PromotionKind
    bundle: PromotedBundle | None
    back_to: int | None
    """Number of the state that a rollback restores; None if there is none."""
    by: str
    reason: str
    is_forced: bool
    figures: dict[str, object]
    """Figures of the comparison at that time."""
    at: datetime


def live_promotion(session: Session) -> PromotionRecord | None:
    """Return the change in force; None if no model was ever promoted."""
    row = session.scalars(select(PromotionRow).order_by(PromotionRow.number.desc()).limit(1)).one_or_none()
    return _record(row) if row else None


def promotions(session: Session, *, limit: int = 50) -> tuple[PromotionRecord, ...]:
    """List the changes of the live model, latest first."""
    rows = session.scalars(select(PromotionRow).order_by(PromotionRow.number.desc()).limit(limit))
    return tuple(map(_record, rows))


def promote(
    session: Session, bundle: PromotedBundle, *, by: str, reason: str, figures: dict[str, object], is_forced: bool
) -> PromotionRecord:
    """Make a bundle the live model.

    Raises
    ------
    InvalidRecordError
        Without a reason, or if it is the live model already.
    """
    live = _locked(session)
    if live is not None and live.bundle is not None and live.bundle.sha256 == bundle.sha256:
        raise InvalidRecordError("digest", "is the live model's already")
    back_to = live.number if live else NONE
    return _add(session, PromotionKind.PROMOTED, bundle, back_to, (by, reason), figures, is_forced=is_forced)


def roll_back(session: Session, *, by: str, reason: str) -> PromotionRecord:
    """Restore the live model before the latest promotion in force.

    Raises
    ------
    InvalidRecordError
        Without a reason.
    UnknownRecordError
        If there is no earlier one.
    """
    live = _locked(session)
    if live is None or live.back_to is None:
        raise UnknownRecordError("promotion to roll back")
    before = _record(session.get_one(PromotionRow, live.back_to)) if live.back_to != NONE else None
    bundle, back_to = (before.bundle, before.back_to) if before else (None, None)
    return _add(session, PromotionKind.ROLLED_BACK, bundle, back_to, (by, reason), {}, is_forced=False)


def _locked(session: Session) -> PromotionRecord | None:
    lock_names(session, "promotions")
    return live_promotion(session)


def _add(
    session: Session,
    kind: PromotionKind,
    bundle: PromotedBundle | None,
    back_to: int | None,
    actor_and_reason: tuple[str, str],
    figures: dict[str, object],
    *,
    is_forced: bool,
) -> PromotionRecord:
    by, reason = actor_and_reason[0], free_text(actor_and_reason[1]).strip()
    if not reason:
        raise InvalidRecordError("reason", "is needed")
    live = live_promotion(session)
    row = PromotionRow(
        number=(live.number if live else NONE) + 1,
        kind=kind,
        model_name=bundle.model.name if bundle else "",
        model_version=bundle.model.version if bundle else "",
        model_sha256=bundle.model.sha256 if bundle else "",
        bundle_sha256=bundle.sha256 if bundle else "",
        files=bundle.files if bundle else (),
        back_to=back_to,
        by=by,
        reason=reason,
        is_forced=is_forced,
        figures=checked_json("figures", figures),
        at=now(session),
    )
    session.add(row)
    session.flush()
    details: dict[str, object] = {"number": row.number, "reason": reason, "forced": is_forced}
    details |= {"model_sha256": row.model_sha256, "bundle_sha256": row.bundle_sha256}
    audit.append(session, AuditEvent(f"model:{kind}", by, row.bundle_sha256[:32], details=details))
    return _record(row)


def _record(row: PromotionRow) -> PromotionRecord:
    model = ModelIdentity(row.model_name, row.model_version, row.model_sha256)
    return record_of(
        PromotionRecord, row, bundle=PromotedBundle(model, row.bundle_sha256, row.files) if row.bundle_sha256 else None
    )
