"""Accepted work is finished exactly once, whenever its worker is killed; a bad series blocks no other."""

from __future__ import annotations

import random
import threading

import pytest

from db.domain.analyses import AnalysisStatus
from db.domain.studies import StudyState
from tests.support.fast_analyzer import CRASHES, HANGS, RAISES
from tests.support.service import until
from tests.support.workflow_node import Node, node

__all__ = ["node"]


@pytest.mark.parametrize("poison", [CRASHES, RAISES, HANGS])
def test_a_poison_series_fails_after_three_attempts_and_delays_no_other(node: Node, poison: int) -> None:
    node.options = {"timeout_s": 15 if poison == HANGS else 120}
    bad = node.receive(poison, 1)
    good = [node.receive(20, number) for number in (2, 3)]
    node.start()
    for uid in good:
        assert node.wait(uid).state is StudyState.ANALYSED
    record = node.wait(bad)
    assert record.state is StudyState.FAILED
    assert record.reasons[0].text.startswith("Failed after 3 attempts.")
    assert node.calls(poison) == 3
    assert "CANARY" not in node.log.read_text()


def test_what_a_dead_worker_left_is_finished_once(node: Node) -> None:
    """Killed in the middle of an analysis, four times: more often than a poisoned series is tried."""
    node.options = {"delay_s": 3600}
    uid = node.receive(20, 1)
    for calls in range(1, 5):
        node.start()
        until(lambda: node.calls(20), lambda call_count, least=calls: call_count >= least, 120)  # type: ignore[misc]
        node.kill()
    node.options = {"delay_s": 0}
    node.start()
    assert node.wait(uid).state is StudyState.ANALYSED
    (analysis,) = node.analyses(uid)
    assert analysis.status is AnalysisStatus.CURRENT
    assert analysis.attempts == 5


def test_killed_at_any_moment_every_series_gets_exactly_one_analysis(node: Node) -> None:
    rng = random.Random(20260301)
    uids = [node.receive(20, number) for number in range(1, 6)]
    node.options = {"delay_s": 0.2}
    for _ in range(6):
        node.start()
        threading.Event().wait(rng.uniform(0.0, 1.5))
        node.kill()
    node.start()
    for uid in uids:
        assert node.wait(uid).state is StudyState.ANALYSED
        assert [analysis.status for analysis in node.analyses(uid)] == [AnalysisStatus.CURRENT]
    until(node.results, lambda results: len(results) == len(uids), 120)
