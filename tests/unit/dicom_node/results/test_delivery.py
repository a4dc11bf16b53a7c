"""Next step of a delivery by another node's answer, without any node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.client.peer import RemoteNode as Node
from dicom_node.client.peer import StoreOutcome, _answer, class_name
from dicom_node.encoding.commitment_messages import CommitmentReport, commitment_request, parse_report
from dicom_node.results.delivery import DeliveryConfig, DeliveryRound, RetryPolicy


@given(st.floats(0.1, 100), st.floats(100, 10_000), st.integers(1, 200))
def test_pauses_grow_and_stay_bounded(first_s: float, longest_s: float, attempts: int) -> None:
    policy = RetryPolicy(first_s, longest_s)
    assert first_s <= policy.pause_s(attempts) <= policy.pause_s(attempts + 1) <= longest_s


def test_the_default_patience_is_about_a_day() -> None:
    policy = RetryPolicy()
    whole_s = sum(policy.pause_s(attempts) for attempts in range(1, policy.max_attempts))
    assert 18 * 3600 < whole_s < 30 * 3600


def status_of(code: int | None) -> Dataset:
    ds = Dataset()
    if code is not None:
        ds.Status = code
    return ds


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0x0000, StoreOutcome.STORED),
        (0xB000, StoreOutcome.STORED),
        (0xB007, StoreOutcome.STORED),
        (0x0111, StoreOutcome.STORED),
        (0xA700, StoreOutcome.TRY_LATER),
        (0xA7FF, StoreOutcome.TRY_LATER),
        (0x0110, StoreOutcome.TRY_LATER),
        (None, StoreOutcome.TRY_LATER),
        (0xA900, StoreOutcome.REFUSED),
        (0xC000, StoreOutcome.REFUSED),
        (0x0122, StoreOutcome.REFUSED),
        (0x0124, StoreOutcome.REFUSED),
    ],
)
def test_a_status_decides_whether_to_retry(code: int | None, outcome: StoreOutcome) -> None:
    answer = _answer(status_of(code))
    assert answer.outcome is outcome
    assert (answer.reason == "") == (code == 0)


@pytest.mark.parametrize(
    ("node", "is_loop"),
    [
        (Node("LUNGNODE", "10.0.0.5", 104), True),
        (Node("PACS", "127.0.0.1", 11112), True),
        (Node("PACS", "localhost", 11112), True),
        (Node("PACS", "127.0.0.1", 104), False),
        (Node("PACS", "10.0.0.5", 11112), False),
    ],
)
def test_our_own_port_is_recognised(node: Node, is_loop: bool) -> None:
    assert DeliveryConfig("LUNGNODE", own_address=("127.0.0.1", 11112)).is_ourselves(node) is is_loop


@dataclass
class Event:
    """Event of pynetdicom for a handler of N-EVENT-REPORT, as far as it is read."""

    event_type: Any
    event_information: Any


def information(committed: list[str], failed: dict[str, int]) -> Dataset:
    ds = commitment_request([("1.2.840.10008.5.1.4.1.1.7", uid) for uid in committed], "2.25.9")
    ds.FailedSOPSequence = []
    for uid, reason in failed.items():
        item = Dataset()
        item.ReferencedSOPInstanceUID, item.FailureReason = uid, reason
        ds.FailedSOPSequence.append(item)
    return ds


def test_a_report_names_what_was_committed_and_what_was_not() -> None:
    report = parse_report(Event(2, information(["2.25.1"], {"2.25.2": 0x0112, "2.25.3": 0x7777})))
    assert report == CommitmentReport(
        "2.25.9", ("2.25.1",), {"2.25.2": "no such object instance", "2.25.3": "no reason given"}
    )


@pytest.mark.parametrize("event", [Event(3, Dataset()), Event(1, Dataset()), Event(1, None), Event("x", Dataset())])
def test_a_report_without_sense_is_none(event: Event) -> None:
    assert parse_report(event) is None


def test_rounds_add_up_and_classes_have_names() -> None:
    assert DeliveryRound(1, 2, 3, 4) + DeliveryRound(1, 1, 1, 1) == DeliveryRound(2, 3, 4, 5)
    assert class_name("1.2.840.10008.5.1.4.1.1.88.34") == "Comprehensive 3D SR Storage"
