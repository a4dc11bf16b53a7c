"""Shared steps of the service's parts."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from lungnode.processes.parts import set_from_handler


@pytest.fixture
def event() -> Iterator[threading.Event]:
    """An event that SIGTERM sets."""
    event = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: set_from_handler(event))
    yield event
    signal.signal(signal.SIGTERM, before)


def test_a_signal_sets_an_event_whose_lock_the_main_thread_holds(event: threading.Event) -> None:
    """As where a second signal interrupts what the first one began, or either interrupts ``wait``."""
    with event._cond:  # type: ignore[attr-defined]
        signal.raise_signal(signal.SIGTERM)
        assert not event.is_set()
    assert event.wait(60)


def test_signals_in_a_row_set_it_once(event: threading.Event) -> None:
    for _ in range(200):
        signal.raise_signal(signal.SIGTERM)
    assert event.wait(60)
