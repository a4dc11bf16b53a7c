"""Which nodule model answers: the one of the settings until another was promoted, and back in one step.

The latest row is the pointer that every worker and web follows; whoever reads it sees all of a change or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.records import AuditEvent, ModelIdentity, PromotionKind
from db.engine.session import checked_json, free_text, lock_names, now
from db.tables.models import PromotionRow

NONE = 0
"""Number of the state in which no model was ever promoted."""


@dataclass(frozen=True, slots=True)
class PromotedBundle:
    """A bundle in the store: ``files`` are paths relative to the store's root; ``sha256`` is its own digest."""

    model: ModelIdentity
    sha256: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromotionRecord:
    """One change of the live model; ``bundle`` is None where it is the one of the settings again."""

    number: int
    kind: PromotionKind
    bundle: PromotedBundle | None
    back_to: int | None
    """Number of the state that taking it back leads to; None where there is none before."""
    by: str
    reason: str
    is_forced: bool
    figures: dict[str, object]
    """What the comparison said then."""
    at: datetime


def live_promotion(session: Session) -> PromotionRecord | None:
    """Return the change that counts now; None where no model was ever promoted."""
    row = session.scalars(select(PromotionRow).order_by(PromotionRow.number.desc()).limit(1)).one_or_none()
    return _record(row) if row else None


def promotions(session: Session, *, limit: int = 50) -> tuple[PromotionRecord, ...]:
    """List the changes of the live model, latest first."""
    rows = session.scalars(select(PromotionRow).order_by(PromotionRow.number.desc()).limit(limit))
    return tuple(map(_record, rows))


def promote(
    session: Session, bundle: PromotedBundle, *, by: str, reason: str, figures: dict[str, object], is_forced: bool
) -> PromotionRecord:
    """Make a bundle the live one.

    Raises
    ------
    InvalidRecordError
        Without a reason, or where it is the live one already.
    """
    live = _locked(session)
    if live is not None and live.bundle is not None and live.bundle.sha256 == bundle.sha256:
        raise InvalidRecordError("digest", "is the live model's already")
    back_to = live.number if live else NONE
    return _add(session, PromotionKind.PROMOTED, bundle, back_to, (by, reason), figures, is_forced=is_forced)


def roll_back(session: Session, *, by: str, reason: str) -> PromotionRecord:
    """Make the model live again that was so before the latest promotion that still stands.

    Raises
    ------
    InvalidRecordError
        Without a reason.
    UnknownRecordError
        If there is none before.
    """
    live = _locked(session)
    if live is None or live.back_to is None:
        raise UnknownRecordError("promotion to take back")
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
    act: tuple[str, str],
    figures: dict[str, object],
    *,
    is_forced: bool,
) -> PromotionRecord:
    by, reason = act[0], free_text(act[1]).strip()
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
    return PromotionRecord(
        number=row.number,
        kind=row.kind,
        bundle=PromotedBundle(model, row.bundle_sha256, row.files) if row.bundle_sha256 else None,
        back_to=row.back_to,
        by=row.by,
        reason=row.reason,
        is_forced=row.is_forced,
        figures=row.figures,
        at=row.at,
    )
