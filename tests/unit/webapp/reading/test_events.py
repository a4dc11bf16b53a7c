"""Server-sent events: changes are sent, and threads stay available."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from sqlalchemy import select, update

from db.audit import trail as audit
from db.database import Database
from db.domain.audit import AuditEvent
from db.tables.accounts import WebSessionRow
from tests.support.webapp_doubles import add_study
from tests.unit.webapp.conftest import Web
from webapp.reading.events import BUSY_RETRY_MS, HAS_GONE
from webapp.services.change_feed import ChangeFeed
from webapp.services.registry import EXTENSION


class Ticks:
    """A clock that moves a minute each time it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 60
        return self.now


def append(database: Database, action: str, times: int = 1) -> None:
    with database.begin() as session:
        for _ in range(times):
            audit.append(session, AuditEvent(action, "test"))


def test_the_version_follows_changes_and_nothing_else(database: Database) -> None:
    watch = ChangeFeed(database, clock=Ticks())
    assert watch.version() == 0
    append(database, "study:received")
    first = watch.version()
    assert first == 1
    for action in ("study:viewed", "reading:revealed", "user:signed_in", "prediction:answered"):
        append(database, action)
        assert watch.version() == first
    append(database, "finding:rejected")
    assert watch.version() == 6
    append(database, "reading:opened")
    assert watch.version() == 7
    append(database, "reading:closed")
    assert watch.version() == 8


def test_a_change_behind_many_other_events_is_not_missed(database: Database) -> None:
    watch = ChangeFeed(database, clock=Ticks())
    append(database, "study:received")
    before = watch.version()
    append(database, "analysis:started")
    append(database, "user:refused", times=120)
    assert watch.version() != before


def test_the_database_is_asked_once_a_period(database: Database) -> None:
    moments = iter([0.0, 0.1, 0.9, 1.1])
    watch = ChangeFeed(database, period_s=1.0, clock=lambda: next(moments))
    watch.version()
    append(database, "study:received")
    assert [watch.version(), watch.version(), watch.version()] == [0, 0, 1]


@pytest.fixture
def quick(web: Web) -> Web:
    """A watch that does not wait."""
    web.app.extensions[EXTENSION].change_feed._period_s = 0.0
    return web


def test_a_stream_sends_the_version_and_then_every_change(quick: Web) -> None:
    add_study(quick.database)
    response = quick.client().get("/events")
    assert response.mimetype == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    lines = response.iter_encoded()
    assert next(lines) == b"retry: 2000\n\n"
    assert next(lines).startswith(b"event: worklist\nid: 1\n")
    add_study(quick.database)
    assert next(lines).startswith(b"event: worklist\nid: 2\n")
    response.close()


def test_streams_tell_nothing_of_whom(quick: Web) -> None:
    study = add_study(quick.database, name="CANARY^PHI")
    response = quick.client().get("/events")
    described = b"".join(islice(response.iter_encoded(), 2))
    response.close()
    assert b"CANARY" not in described
    assert study.study_instance_uid.encode() not in described


def test_only_a_share_of_the_threads_streams_and_the_others_are_not_shut_out(make_web: Callable[..., Web]) -> None:
    web = make_web(threads=4)
    first = web.client().get("/events")
    next(iter(first.response))
    second = web.client().get("/events")
    text = second.text
    assert f"retry: {BUSY_RETRY_MS}" in text
    assert "event: worklist" in text
    assert "lungnode_event_streams 1.0" in web.client().get("/metrics").text
    first.close()
    first.close()
    third = web.client().get("/events")
    assert next(iter(third.response)) == b"retry: 2000\n\n"
    third.close()
    assert "lungnode_event_streams 0.0" in web.client().get("/metrics").text


def test_a_stream_ends_by_itself(make_web: Callable[..., Web]) -> None:
    web = make_web(stream_s=0.0)
    assert web.client().get("/events").text.count("event:") == 1


def test_a_stream_ends_when_its_reader_has_gone(quick: Web) -> None:
    response = quick.client().get("/events", environ_overrides={HAS_GONE: lambda: True})
    assert len(list(response.response)) == 2
    response.close()


def test_streams_end_when_the_server_closes(web: Web) -> None:
    response = web.client().get("/events")
    web.app.extensions[EXTENSION].change_feed.close()
    assert len(list(response.response)) == 2
    response.close()


def test_a_stream_does_not_keep_a_session_alive(locked: Web) -> None:
    from db.domain.accounts import Role

    client, _ = locked.signed_in(Role.RADIOLOGIST)
    database = locked.app.extensions[EXTENSION].database
    earlier = datetime.now(UTC) - timedelta(minutes=5)
    with database.begin() as session:
        session.execute(update(WebSessionRow).values(last_seen_at=earlier))

    def last_used() -> datetime:
        with database.read() as session:
            return session.scalars(select(WebSessionRow.last_seen_at)).one()

    client.get("/events").close()
    client.get("/api/v1/worklist", headers={"X-Lungnode-Background": "1"})
    assert last_used() == earlier
    client.get("/api/v1/worklist")
    assert last_used() > earlier
