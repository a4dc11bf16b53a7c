"""Parts that die again and again end the service with their reason, unless they were healthy once."""

from __future__ import annotations

from typing import Any

import pytest

from lungnode.processes import supervisor as supervise
from lungnode.processes.parts import PartError, PartName
from lungnode.processes.supervisor import Supervisor
from lungnode.settings.service import Settings
from tests.support.brief_parts import never_ready, no_analyzer, ready_then_gone

GIVE_UP_AFTER = 2


def _ignore(_addresses: object) -> None:
    """Take the addresses and do nothing."""


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setattr(supervise, "FIRST_BACKOFF_S", 0.0)
    monkeypatch.setattr(supervise, "GIVE_UP_AFTER", GIVE_UP_AFTER)
    return Supervisor(Settings(), [PartName.WORKER], no_analyzer, on_ready=_ignore, on_change=_ignore)


def test_a_part_that_dies_at_once_again_and_again_ends_the_service(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "run_part", ready_then_gone)
    with pytest.raises(PartError, match=rf"worker: ended with status 0.*\({GIVE_UP_AFTER} times in a row\)"):
        supervisor.run()


def test_a_part_that_cannot_start_ends_the_service_with_its_reason(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "run_part", never_ready)
    with pytest.raises(PartError, match="worker: no weights"):
        supervisor.run()


def test_a_part_that_was_healthy_is_restarted_for_ever(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "run_part", ready_then_gone)
    monkeypatch.setattr(supervise, "HEALTHY_S", -1.0)
    starts, start = 0, Supervisor._start

    def count(self: Supervisor, part: Any) -> None:
        nonlocal starts
        starts += 1
        if starts == 2:  # it has died once, and counted as healthy then
            monkeypatch.setattr(supervise, "HEALTHY_S", 3600.0)
        self._stopping = starts > GIVE_UP_AFTER + 2
        if not self._stopping:
            start(self, part)

    monkeypatch.setattr(Supervisor, "_start", count)
    supervisor.run()
    assert starts == GIVE_UP_AFTER + 3
