"""Bounded concurrency: so many work, so many wait, the rest is refused at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from webapp.http.concurrency import Slots
from webapp.http.errors import BusyError


def test_beyond_work_and_queue_callers_are_refused_at_once() -> None:
    slots, release, working = Slots(2, waiting=3, wait_s=60), threading.Event(), threading.Semaphore(0)

    def work() -> str:
        try:
            with slots.take():
                working.release()
                release.wait()
                return "done"
        except BusyError:
            return "refused"

    with ThreadPoolExecutor(9) as pool:
        callers = [pool.submit(work) for _ in range(9)]
        for _ in range(2):
            working.acquire()
        while sum(caller.done() for caller in callers) < 4:  # no other ends before the release
            pass
        release.set()
        outcomes = [caller.result() for caller in callers]
    assert (outcomes.count("done"), outcomes.count("refused")) == (5, 4)


def test_a_wait_ends_in_a_refusal_and_frees_the_queue() -> None:
    slots = Slots(1, waiting=1, wait_s=0.01)
    with slots.take():
        for _ in range(3):
            with pytest.raises(BusyError), slots.take():
                pass
    with slots.take():
        pass


def test_a_failure_gives_the_place_back() -> None:
    slots = Slots(1, waiting=1, wait_s=0.0)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), slots.take():
            raise ValueError("x")
