"""Sessions end by themselves."""

from __future__ import annotations

from webapp import sessions
from webapp.sessions import SessionStore, form_token, is_form_token


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_after_silence() -> None:
    clock = Clock()
    store = SessionStore(idle_s=60, lifetime_s=600, clock=clock)
    cookie = store.open("reader")
    clock.now += 59
    assert store.find(cookie) is not None
    clock.now += 61
    assert store.find(cookie) is None
    clock.now -= 61
    assert store.find(cookie) is None


def test_requests_that_no_person_made_do_not_keep_it_alive() -> None:
    clock = Clock()
    store = SessionStore(idle_s=60, lifetime_s=600, clock=clock)
    cookie = store.open("reader")
    for _ in range(3):
        clock.now += 25
        found = store.find(cookie, touch=False)
    assert found is None


def test_a_busy_session_ends_too() -> None:
    clock = Clock()
    store = SessionStore(idle_s=60, lifetime_s=600, clock=clock)
    cookie = store.open("reader")
    for _ in range(15):
        clock.now += 50
        found = store.find(cookie)
    assert found is None


def test_the_store_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    store = SessionStore(idle_s=60, lifetime_s=600)
    cookies = [store.open("reader") for _ in range(5)]
    assert [store.find(cookie) is not None for cookie in cookies] == [False, False, True, True, True]


def test_a_form_token_belongs_to_one_cookie_and_one_key() -> None:
    token = form_token("cookie", b"key")
    assert is_form_token(token, "cookie", b"key")
    assert not is_form_token(token, "other", b"key")
    assert not is_form_token(token, "cookie", b"another")
    assert not is_form_token("\u00e9", "cookie", b"key")
