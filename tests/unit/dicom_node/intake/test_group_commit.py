"""Many threads commit together: none waits for ever, none is answered for another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from dicom_node.intake.instance_intake import IntakeVerdict, Sender
from tests.support.intake import Node, announced, ct_dataset, encoded, receive_instance, running_node
from tests.support.records import instance_record

THREADS = 8
SENDER = Sender("PACS", "127.0.0.1")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


def receive(node: Node, number: int) -> IntakeVerdict:
    ds = ct_dataset(number)
    return receive_instance(node.intake, announced(ds), encoded(ds), SENDER)


def receive_one_of(node: Node, numbers: Sequence[int], index: int) -> IntakeVerdict:
    return receive(node, numbers[index])


def at_once(work: Callable[[int], IntakeVerdict]) -> list[IntakeVerdict | RuntimeError]:
    """Run work for as many numbers as there are threads, all begun together; an exception is its outcome."""
    start = Barrier(THREADS)

    def one(number: int) -> IntakeVerdict | RuntimeError:
        start.wait(60)
        try:
            return work(number)
        except RuntimeError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(1, THREADS + 1), timeout=60))


def codes_of(outcomes: list[IntakeVerdict | RuntimeError]) -> list[str]:
    return ["error" if isinstance(outcome, RuntimeError) else outcome.code for outcome in outcomes]


def test_threads_that_commit_together_all_get_their_own_verdict(node: Node) -> None:
    for round_number in range(5):
        numbers = range(100 * round_number, 100 * round_number + THREADS + 1)
        verdicts = at_once(partial(receive_one_of, node, numbers))
        assert codes_of(verdicts) == ["stored"] * THREADS
    again = at_once(lambda number: receive(node, number))
    assert codes_of(again) == ["duplicate"] * THREADS
    with node.database.read() as session:
        for round_number in range(5):
            for number in range(1, THREADS + 1):
                uid = str(ct_dataset(100 * round_number + number).SOPInstanceUID)
                assert instance_record(session, uid) is not None


def test_an_unforeseen_error_of_a_leader_releases_all_waiting_threads(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(node, 99)
    publish = node.store.publish
    failures = iter([True])

    def failing(received: Any) -> None:
        if next(failures, False):
            raise RuntimeError("not foreseen")
        publish(received)

    monkeypatch.setattr(node.store, "publish", failing)
    outcomes = at_once(lambda number: receive(node, number))
    codes = codes_of(outcomes)
    assert codes.count("error") == 1
    assert set(codes) <= {"error", "storage-unavailable", "stored"}
    assert receive(node, 98).code == "stored"
