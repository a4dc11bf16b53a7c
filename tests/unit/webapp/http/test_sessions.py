"""Sessions end by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.accounts import users
from db.accounts.web_sessions import SessionGrant, user_grant
from db.database import Database
from db.domain.accounts import Role
from db.engine.schema import upgrade
from webapp.http import sessions
from webapp.http.sessions import SessionStore, form_token, is_form_token


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def grant(store: SessionStore) -> SessionGrant:
    with store._database.read() as session:
        reader = users.user_record(session, name="reader")
    assert reader is not None
    return user_grant(reader)


@pytest.fixture
def store(tmp_path: Path, clock: Clock, cheap_passwords: None) -> Iterator[SessionStore]:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    upgrade(url)
    database = Database(url, bytes(32), clock=clock)
    with database.begin() as session:
        users.add_user(session, "reader", "correct horse battery", Role.RADIOLOGIST)
    yield SessionStore(database, idle_s=60, lifetime_s=600)
    database.dispose()


def test_a_session_ends_after_silence(store: SessionStore, clock: Clock) -> None:
    cookie = store.open(grant(store))
    clock.now += 59
    assert store.find(cookie) is not None
    clock.now += 61
    assert store.find(cookie) is None


def test_requests_that_no_person_made_do_not_keep_it_alive(store: SessionStore, clock: Clock) -> None:
    cookie = store.open(grant(store))
    for _ in range(3):
        clock.now += 25
        result = store.find(cookie, touch=False)
    assert result is None


def test_a_busy_session_ends_too(store: SessionStore, clock: Clock) -> None:
    cookie = store.open(grant(store))
    for _ in range(15):
        clock.now += 50
        result = store.find(cookie)
    assert result is None


@pytest.mark.parametrize("seconds_ahead", [61, 3600, 370 * 86400])
def test_a_session_seen_by_a_clock_that_ran_ahead_ends_when_the_clock_is_right(
    store: SessionStore, clock: Clock, seconds_ahead: float
) -> None:
    opened_before = store.open(grant(store))
    clock.now += 50
    before = clock.now
    clock.now += 5
    assert store.find(opened_before) is not None  # noted as seen a few seconds ahead
    clock.now = before + seconds_ahead
    opened_ahead = store.open(grant(store))
    clock.now = before
    assert store.find(opened_ahead) is None
    opened_after = store.open(grant(store))
    assert store.find(opened_after) is not None
    clock.now = before + seconds_ahead
    assert store.find(opened_ahead) is None  # removed, and not live again when its time comes


def test_a_session_last_seen_ahead_has_ended(store: SessionStore, clock: Clock) -> None:
    cookie = store.open(grant(store))
    for _ in range(9):
        clock.now += 50
        assert store.find(cookie) is not None
    clock.now -= 400
    assert store.find(cookie) is None


@pytest.mark.parametrize(("skew_s", "is_live"), [(-60, True), (-61, False), (60, True), (61, False)])
def test_clocks_of_two_webs_may_differ_a_little(
    store: SessionStore, clock: Clock, skew_s: float, is_live: bool
) -> None:
    cookie = store.open(grant(store))
    clock.now += skew_s
    assert (store.find(cookie, touch=False) is not None) == is_live


def test_clocks_differ_by_minutes_at_most(store: SessionStore, clock: Clock) -> None:
    patient = SessionStore(store._database, idle_s=3600, lifetime_s=36_000)
    cookie = patient.open(grant(store))
    clock.now -= 300
    assert patient.find(cookie) is not None
    clock.now -= 1
    assert patient.find(cookie) is None


def test_the_store_is_bounded(store: SessionStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    cookies = []
    for _ in range(5):
        cookies.append(store.open(grant(store)))
        clock.now += 1
    assert [store.find(cookie) is not None for cookie in cookies] == [False, False, True, True, True]


def test_every_web_of_a_database_knows_who_is_signed_in(store: SessionStore, clock: Clock) -> None:
    other = SessionStore(store._database, idle_s=60, lifetime_s=600)
    cookie = store.open(grant(store))
    clock.now += 40
    assert other.find(cookie) is not None
    clock.now += 40
    assert store.find(cookie) is not None
    other.close(cookie)
    assert store.find(cookie) is None


def test_the_database_holds_no_cookie(store: SessionStore) -> None:
    cookie = store.open(grant(store))
    path = Path(store._database.url.removeprefix("sqlite:///"))
    held = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert b"reader" in held
    assert cookie.encode() not in held


def test_a_form_token_belongs_to_one_cookie_and_one_key() -> None:
    token = form_token("cookie", b"key")
    assert is_form_token(token, "cookie", b"key")
    assert not is_form_token(token, "other", b"key")
    assert not is_form_token(token, "cookie", b"another")
    assert not is_form_token("\u00e9", "cookie", b"key")
