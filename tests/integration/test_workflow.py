"""Accepted work is finished exactly once, and results are made of it: a worker that is killed, lost or replaced."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from db.analyses import analyses
from db.domain.analyses import AnalysisStatus
from db.domain.models import ModelIdentity
from db.domain.studies import StudyState
from db.monitoring import workers
from tests.support.fast_analyzer import HELD
from tests.support.service import is_running, until
from tests.support.workflow_node import Node, node

__all__ = ["node"]


def test_a_quiet_series_is_analysed_and_its_results_are_made(node: Node) -> None:
    uid = node.receive(20, 1)
    node.start()
    assert node.wait(uid).state is StudyState.ANALYSED
    (analysis,) = node.analyses(uid)
    assert analysis.status is AnalysisStatus.CURRENT
    assert analysis.attempts == 1
    until(node.results, lambda results: len(results) == 1, 120)
    assert node.calls(20) == len(node.makings()) == 1


def test_the_next_series_is_analysed_while_results_are_made(node: Node) -> None:
    node.options = {"results": "hangs"}
    uids = [node.receive(20, number) for number in range(1, 4)]
    node.start()
    for uid in uids:
        assert node.wait(uid).state is StudyState.ANALYSED
    assert node.results() == []
    assert len(node.makings()) <= 1
    node.kill()
    node.options = {}
    node.start()
    until(node.results, lambda results: len(results) == 3, 120)
    assert all(analysis.attempts == 1 for uid in uids for analysis in node.analyses(uid))


def test_results_that_fail_are_tried_again_after_a_pause(node: Node) -> None:
    node.options = {"results": "fails"}
    uid = node.receive(20, 1)
    node.start()
    (results,) = until(node.results, lambda results: len(results) == 1, 120)
    assert node.makings() == [results, results]
    assert node.wait(uid).state is StudyState.ANALYSED
    assert node.failures() == 1


@pytest.mark.parametrize(
    ("options", "is_reached"),
    [
        ({"results": "hangs"}, lambda node: len(node.makings()) == 1),
        ({"results": "fails", "retry_s": 6.0}, lambda node: node.failures() == 1),
    ],
    ids=["the first try at results", "the pause after it"],
)
def test_results_are_made_after_a_kill(
    node: Node, options: dict[str, object], is_reached: Callable[[Node], bool]
) -> None:
    uid = node.receive(20, 1)
    node.options = options
    node.start()
    until(lambda: is_reached(node), bool, 120)
    node.kill()
    node.options = {}
    node.start()
    until(node.results, lambda results: len(results) == 1, 60)
    after = node.receive(20, 2)
    assert node.wait(after).state is StudyState.ANALYSED
    until(node.results, lambda results: len(results) == 2, 60)
    assert len(node.makings()) == 3
    assert [analysis.attempts for analysis in node.analyses(uid)] == [1]


def test_a_refused_series_is_not_analysed_and_says_why(node: Node) -> None:
    uid = node.receive(4, 1)
    node.start()
    record = node.wait(uid)
    assert record.state is StudyState.NOT_ANALYSED
    assert [reason.code for reason in record.reasons] == ["too_few_slices"]


def test_what_a_silent_worker_left_is_finished_by_another(node: Node) -> None:
    """The dead one never comes back; the other was busy with nothing and knows it by its heartbeats alone."""
    node.options = {"delay_s": 3600}
    other = Node(node.folder, node.url, node.database, {"executor_id": "worker-2", "heartbeat_timeout_s": 4.0})
    uid = node.receive(20, 1)
    node.start()
    until(lambda: node.calls(20), lambda call_count: call_count == 1, 120)
    other.start()
    try:
        until(lambda: _beats(node), lambda beats: len(beats) == 2 and min(beats.values()) > 2, 60)
        node.kill()
        assert other.wait(uid).state is StudyState.ANALYSED
    finally:
        other.kill()
    (analysis,) = node.analyses(uid)
    assert analysis.status is AnalysisStatus.CURRENT
    assert analysis.attempts == 2


def test_a_worker_that_lives_keeps_its_work(node: Node) -> None:
    other = Node(node.folder, node.url, node.database, {"executor_id": "worker-2", "heartbeat_timeout_s": 4.0})
    uid = node.receive(20, 1)
    held = node.folder / "calls" / HELD
    held.parent.mkdir()
    held.touch()
    node.start()
    until(lambda: node.calls(20), lambda call_count: call_count == 1, 120)
    other.start()
    try:
        until(
            lambda: _beats(node), lambda beats: beats.get("worker-2", 0) >= 30
        )  # 0.2 s apart: longer than the timeout
        held.unlink()
        assert node.wait(uid).state is StudyState.ANALYSED
    finally:
        other.kill()
    assert node.analyses(uid)[0].attempts == 1


def _beats(node: Node) -> dict[str, int]:
    with node.database.read() as session:
        return workers.beats(session)


def test_the_analysing_process_ends_with_its_worker(node: Node) -> None:
    node.options = {"delay_s": 3600}
    node.receive(20, 1)
    node.start()
    until(lambda: node.calls(20), lambda call_count: call_count == 1, 60)
    (mark,) = (node.folder / "calls").iterdir()
    child = int(mark.name.split("-")[1])
    assert node.process is not None
    node.process.kill()
    until(lambda: is_running(child), lambda running: not running)


def test_a_model_that_was_replaced_answers_under_its_own_name(node: Node) -> None:
    uid = node.receive(20, 1)
    with node.database.begin() as session:
        stale = ModelIdentity("old", "0", "0" * 64)
        analyses.request_analysis(session, node.series(uid).id, stale, requested_by="reader")
    node.start()
    until(lambda: node.analyses(uid), lambda records: records[-1].status is AnalysisStatus.CURRENT, 60)
    old, new = node.analyses(uid)
    assert (old.status, old.reasons[0].code) == (AnalysisStatus.FAILED, "model_replaced")
    assert new.model.sha256 != old.model.sha256
    assert new.requested_by == "reader"


def test_lost_workflows_are_submitted_again(node: Node) -> None:
    """The queue's own database is gone (restored without it): the records alone bring the work back."""
    if not node.url.startswith("sqlite"):
        pytest.skip("PostgreSQL keeps both in one database")
    node.options = {"delay_s": 3600}
    uid = node.receive(20, 1)
    node.start()
    until(lambda: node.calls(20), lambda call_count: call_count == 1, 60)
    node.kill()
    for path in node.folder.glob("dbos.db*"):
        path.unlink()
    node.options = {"delay_s": 0}
    node.start()
    assert node.wait(uid).state is StudyState.ANALYSED
