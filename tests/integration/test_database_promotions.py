"""The live model is one pointer: promoted with a reason, taken back step by step, all of it on record."""

from __future__ import annotations

import pytest

from db.analyses.promotions import PromotedBundle, PromotionRecord, live_promotion, promote, promotions, roll_back
from db.audit import trail as audit
from db.database import Database
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.models import ModelIdentity, PromotionKind


def bundle(letter: str) -> PromotedBundle:
    return PromotedBundle(ModelIdentity("nodule", letter, letter * 64), letter * 64, (f"models/{letter}/bundle.json",))


def promoted(database: Database, letter: str, reason: str = "better") -> PromotionRecord:
    with database.begin() as session:
        return promote(session, bundle(letter), by="chief", reason=reason, figures={"n": 60}, is_forced=False)


def taken_back(database: Database) -> PromotedBundle | None:
    with database.begin() as session:
        return roll_back(session, by="chief", reason="complaints").bundle


def live(database: Database) -> PromotedBundle | None:
    with database.read() as session:
        record = live_promotion(session)
    return record.bundle if record else None


def test_promotions_are_taken_back_one_by_one_down_to_the_settings(database: Database) -> None:
    assert live(database) is None
    promoted(database, "a")
    promoted(database, "b")
    assert live(database) == bundle("b")
    assert taken_back(database) == bundle("a")
    assert live(database) == bundle("a")
    assert taken_back(database) is None
    assert live(database) is None
    with pytest.raises(UnknownRecordError):
        taken_back(database)
    promoted(database, "c")
    assert taken_back(database) is None
    with database.read() as session:
        kinds = [record.kind for record in promotions(session)]
    assert (
        kinds
        == [PromotionKind.ROLLED_BACK, PromotionKind.PROMOTED, *[PromotionKind.ROLLED_BACK] * 2]
        + [PromotionKind.PROMOTED] * 2
    )


def test_the_live_model_is_not_promoted_again_nor_anything_without_a_reason(database: Database) -> None:
    promoted(database, "a")
    with pytest.raises(InvalidRecordError):
        promoted(database, "a")
    with pytest.raises(InvalidRecordError):
        promoted(database, "b", reason=" ")
    assert live(database) == bundle("a")


def test_it_is_on_record_by_whom_and_why(database: Database) -> None:
    promoted(database, "a")
    taken_back(database)
    with database.read() as session:
        events = [(e.event.action, e.event.actor, e.event.details["reason"]) for e in audit.recent(session, limit=2)]
    assert events == [("model:rolled_back", "chief", "complaints"), ("model:promoted", "chief", "better")]
