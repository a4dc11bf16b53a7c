"""Heartbeats in the database: who beats, who fell silent, and two workers that were given one name."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from db.database import Database
from dicom_node.jobs.liveness import HeartbeatMonitor


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def monitor(database: Database, name: str, clock: Clock, resumed: list[str]) -> HeartbeatMonitor:
    def resume(names: Sequence[str]) -> int:
        resumed.extend(names)
        return len(names)

    return HeartbeatMonitor(database, name, "0", resume, lambda: 0, timeout_s=60.0, clock=clock)


def test_what_a_silent_worker_left_is_taken_up_after_a_minute_and_its_own_never(database: Database) -> None:
    clock, resumed = Clock(), list[str]()
    monitor(database, "worker-2", clock, resumed).beat()
    living = monitor(database, "worker-1", clock, resumed)
    for _ in range(12):
        living.beat()
        clock.now_s += 5
    assert resumed == []
    living.beat()
    assert resumed == ["worker-2"]


def test_a_worker_that_died_before_its_first_heartbeat_is_known(database: Database) -> None:
    clock, resumed = Clock(), list[str]()
    monitor(database, "worker-2", clock, resumed).register()
    living = monitor(database, "worker-1", clock, resumed)
    living.register()
    for _ in range(13):
        living.beat()
        clock.now_s += 5
    assert resumed == ["worker-2"]


def test_two_workers_of_one_name_are_distinguished(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    one, two = (monitor(database, "worker-1", Clock(), []) for _ in range(2))
    one.beat()
    one.beat()
    assert "worker:name_conflict" not in caplog.text
    two.beat()
    with caplog.at_level(logging.ERROR):
        one.beat()
    assert "worker:name_conflict" in caplog.text
