"""Associations and refusals are counted by peer, and their number is bounded, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from db.database import Database
from db.monitoring import association_log
from db.monitoring.association_log import AssociationEvent

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(address: str = "10.0.0.1", title: str = "CT1", reason: str = "busy") -> AssociationEvent:
    return AssociationEvent(address, title, "LUNGNODE", "rejected", reason)


def test_like_events_are_one_record(database: Database) -> None:
    with database.begin() as session:
        association_log.record(session, {event(): 2, event(reason="address"): 1})
    with database.begin() as session:
        association_log.record(session, {event(): 3})
    with database.read() as session:
        counted = {one.event: one.count for one in association_log.recent(session)}
    assert counted == {event(): 5, event(reason="address"): 1}


def test_the_latest_are_kept_and_no_address_pushes_out_the_others(database: Database) -> None:
    with database.begin() as session:
        session.info["clock"] = lambda: START
        association_log.record(session, {event("10.0.0.9", "SCANNER"): 1})
        for minute in range(1, 8):
            session.info["clock"] = lambda minute=minute: START + timedelta(minutes=minute)
            titles = {event(f"10.0.1.{minute}", f"T{number}"): 1 for number in range(150)}
            association_log.record(session, titles)
            if minute == 2:
                listed = association_log.recent(session)
                assert len(listed) == 201
                assert listed[-1].event.calling_ae_title == "SCANNER"
        listed = association_log.recent(session)
    assert len(listed) == association_log.LIMIT
    assert listed[0].event.peer_address == "10.0.1.7"
