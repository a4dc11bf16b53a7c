from __future__ import annotations

import dataclasses
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from db.audit import trail as audit
from db.database import Database
from db.domain.errors import DatabaseUnavailableError, InvalidRecordError
from db.domain.studies import ReceivedInstance, StoreVerdict, StudyState
from db.intake.ingest import record_arrivals
from db.studies.instances import receiving_series, series_instances
from dicom_node.encoding.elements import WalkLimits
from dicom_node.encoding.status import Status
from dicom_node.intake.instance_intake import Announced, IntakeLimits, IntakeVerdict
from dicom_node.intake.throttle import Throttle
from dicom_node.storage.instance_store import dataset_sha256
from tests.support.intake import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SENDER,
    Node,
    announced,
    ct_dataset,
    encoded,
    receive_instance,
    running_node,
)
from tests.support.records import instance_record


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


def send(node: Node, ds: Dataset, transfer_syntax: str = EXPLICIT, **changes: Any) -> IntakeVerdict:
    said = dataclasses.replace(announced(ds, transfer_syntax), **changes)
    return receive_instance(node.intake, said, encoded(ds, transfer_syntax), SENDER)


def actions(node: Node) -> list[str]:
    with node.database.read() as session:
        return [entry.event.action for entry in audit.recent(session, limit=100)]


@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_a_taken_instance_lies_in_the_store_and_in_the_index(node: Node, transfer_syntax: str) -> None:
    ds = ct_dataset(3)

    verdict = send(node, ds, transfer_syntax)

    assert (verdict.status, verdict.code) == (Status.SUCCESS, "stored")
    with node.database.read() as session:
        record = instance_record(session, ds.SOPInstanceUID)
        (series,) = receiving_series(session)
    assert record is not None
    assert record.transfer_syntax_uid == transfer_syntax
    assert record.instance_number == 3
    assert dataset_sha256(node.store.absolute(record.path)) == record.sha256
    assert (series.series_instance_uid, series.state) == (ds.SeriesInstanceUID, StudyState.RECEIVING)
    assert not node.partial_files()


def test_sending_again_is_success_and_adds_nothing(node: Node) -> None:
    ds = ct_dataset()
    assert send(node, ds).code == "stored"

    for _ in range(3):
        verdict = send(node, ds)
        assert (verdict.status, verdict.code) == (Status.SUCCESS, "duplicate")

    assert len(node.stored_files()) == 1
    assert node.counters.value("instances", "duplicate") == 3


def test_other_content_under_a_known_uid_is_answered_audited_and_not_kept(node: Node) -> None:
    ds = ct_dataset()
    send(node, ds)
    (first,) = node.stored_files()
    content = first.read_bytes()
    ds.PixelData = bytes(len(ds.PixelData))

    verdict = send(node, ds)

    assert verdict.status is Status.DUPLICATE_SOP_INSTANCE
    assert int(verdict.status) == 0x0111
    assert node.stored_files() == [first]
    assert first.read_bytes() == content
    assert "instance:conflict" in actions(node)


def test_a_series_under_a_second_study_is_refused(node: Node) -> None:
    send(node, ct_dataset(1))
    ds = ct_dataset(2)
    ds.StudyInstanceUID = "1.2.3.4"

    verdict = send(node, ds)

    assert (verdict.status, verdict.code) == (Status.DOES_NOT_MATCH, "study-conflict")
    assert len(node.stored_files()) == 1


def test_another_patient_in_the_same_study_is_refused(node: Node) -> None:
    send(node, ct_dataset(1))
    ds = ct_dataset(2)
    ds.PatientID, ds.PatientName = "OTHER", "OTHER^ONE"

    verdict = send(node, ds)

    assert (verdict.status, verdict.code) == (Status.DOES_NOT_MATCH, "patient-conflict")
    assert len(node.stored_files()) == 1


def without(keyword: str) -> Callable[[Dataset], None]:
    return lambda ds: ds.__delattr__(keyword)


REFUSALS: list[tuple[str, Callable[[Dataset], None], dict[str, str], str, int]] = [
    ("a class that is not taken", lambda ds: None, {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, "sop-class", 0x0122),
    ("a syntax that is not taken", lambda ds: None, {"transfer_syntax_uid": "1.2.3"}, "transfer-syntax", 0xC000),
    ("no UID in the command", lambda ds: None, {"sop_instance_uid": ""}, "invalid-attribute", 0xC000),
    ("a path in the command", lambda ds: None, {"sop_instance_uid": "../x"}, "invalid-attribute", 0xC000),
    ("another instance than announced", lambda ds: None, {"sop_instance_uid": "1.2.3"}, "mismatch", 0xA900),
    (
        "another class than announced",
        lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2.1"),
        {"sop_class_uid": CT},
        "mismatch",
        0xA900,
    ),
    ("no pixels", without("PixelData"), {}, "no-pixels", 0xA900),
    ("no study", without("StudyInstanceUID"), {}, "missing-attribute", 0xC000),
    ("no series", without("SeriesInstanceUID"), {}, "missing-attribute", 0xC000),
    ("no instance", without("SOPInstanceUID"), {"sop_instance_uid": "1.2.3"}, "missing-attribute", 0xC000),
    ("another encoding than announced", lambda ds: None, {"transfer_syntax_uid": BIG_ENDIAN}, "truncated", 0xC000),
]


@pytest.mark.parametrize(("what", "spoil", "changes", "code", "status"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_refusals(
    node: Node, what: str, spoil: Callable[[Dataset], None], changes: dict[str, Any], code: str, status: int
) -> None:
    ds = ct_dataset()
    said = dataclasses.replace(announced(ds), **changes)
    spoil(ds)

    verdict = receive_instance(node.intake, said, encoded(ds), SENDER)

    assert (verdict.code, verdict.status) == (code, status)
    assert not verdict.is_stored
    assert not node.stored_files()
    assert not node.partial_files()
    assert node.counters.value("refusals", code) == 1
    assert actions(node) == ["instance:refused"]
    for value in (ds.PatientID, str(ds.PatientName), "1.2.826"):
        assert value not in verdict.text


def test_a_cut_off_dataset_is_not_understood(node: Node) -> None:
    ds = ct_dataset()

    verdict = receive_instance(node.intake, announced(ds), encoded(ds)[:-3], SENDER)

    assert (verdict.status, verdict.code) == (Status.CANNOT_UNDERSTAND, "truncated")


def test_a_peer_that_may_not_store_is_refused(node: Node) -> None:
    ds = ct_dataset()
    viewer = dataclasses.replace(SENDER, may_store=False)

    verdict = receive_instance(node.intake, announced(ds), encoded(ds), viewer)

    assert (verdict.status, verdict.code) == (Status.NOT_AUTHORIZED, "not-authorized")


def test_bounds_are_kept(tmp_path: Path) -> None:
    ds = ct_dataset()
    with running_node(tmp_path, limits=IntakeLimits(max_instance_bytes=100)) as node:
        assert send(node, ds).code == "too-large"
    with running_node(tmp_path, limits=IntakeLimits(walk=WalkLimits(elements=5))) as node:
        assert send(node, ds).code == "too-long"


def test_a_full_disk_is_out_of_resources_and_passes(tmp_path: Path) -> None:
    ds = ct_dataset()
    with running_node(tmp_path, min_free_bytes=1 << 62) as node:
        verdict = send(node, ds)
        assert (verdict.status, verdict.code) == (Status.OUT_OF_RESOURCES, "storage-full")
    with running_node(tmp_path) as node:
        assert send(node, ds).is_stored


def test_a_locked_index_is_out_of_resources_and_the_next_attempt_succeeds(tmp_path: Path) -> None:
    ds = ct_dataset()
    with running_node(tmp_path, busy_timeout_s=0.1) as node:
        other = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        verdict = send(node, ds)
        other.execute("ROLLBACK")
        other.close()

        assert (verdict.status, verdict.code) == (Status.OUT_OF_RESOURCES, "storage-unavailable")
        with node.database.read() as session:
            assert instance_record(session, ds.SOPInstanceUID) is None
        assert send(node, ds).code == "stored"
        assert len(node.stored_files()) == 1


def test_nothing_is_acknowledged_when_the_commit_itself_fails(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = ct_dataset()

    begin = node.database.begin

    @contextmanager
    def failing() -> Iterator[Session]:
        with begin() as session:
            yield session
            raise DatabaseUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(node.database, "begin", failing)
        verdict = send(node, ds)

    assert verdict.status == Status.OUT_OF_RESOURCES
    with node.database.read() as session:
        assert instance_record(session, ds.SOPInstanceUID) is None
    assert send(node, ds).code == "stored"


def test_many_senders_at_once_lose_and_double_nothing(node: Node) -> None:
    datasets = [ct_dataset(number, series=1 + number % 3) for number in range(40)] * 2

    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda ds: send(node, ds), datasets))

    assert sorted(verdict.code for verdict in verdicts) == ["duplicate"] * 40 + ["stored"] * 40
    assert len(node.stored_files()) == 40
    with node.database.read() as session:
        assert sum(len(series_instances(session, series.id)) for series in receiving_series(session)) == 40


def test_one_that_the_index_cannot_hold_does_not_take_others_with_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is shared by those who wait; a refusal of one must not be the refusal of all."""

    def record(database: Database, instances: Sequence[ReceivedInstance]) -> list[StoreVerdict]:
        if any(instance.instance_number == 6 for instance in instances):
            raise InvalidRecordError("patient_id", "holds characters that cannot be stored")
        return record_arrivals(database, instances)

    monkeypatch.setattr("dicom_node.intake.group_commit.record_arrivals", record)

    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda ds: send(node, ds), [ct_dataset(number) for number in range(13)]))

    assert [number for number, verdict in enumerate(verdicts) if not verdict.is_stored] == [6]
    assert verdicts[6].status == Status.CANNOT_UNDERSTAND


def test_fragments_make_the_same_instance_as_the_whole(node: Node) -> None:
    ds = ct_dataset()
    content = encoded(ds)
    reception = node.intake.begin(announced(ds), SENDER)
    for start in range(0, len(content), 7):
        reception.write(memoryview(content)[start : start + 7])

    assert reception.finish().code == "stored"
    assert send(node, ds).code == "duplicate"


def test_an_abandoned_instance_leaves_nothing(node: Node) -> None:
    ds = ct_dataset()
    reception = node.intake.begin(announced(ds), SENDER)
    reception.write(encoded(ds)[:100])
    reception.write(bytes(3 << 20))
    assert node.partial_files()
    reception.abandon()

    assert not node.partial_files()
    assert not node.stored_files()
    assert not node.counters.snapshot()


def test_a_flood_of_refusals_does_not_fill_the_trail(node: Node) -> None:
    for _ in range(200):
        receive_instance(node.intake, Announced(CT, "1.2.3", EXPLICIT), b"junk", SENDER)

    assert node.counters.snapshot()["refusals", "truncated"] == 200
    assert 50 <= len(actions(node)) <= 90


def test_the_throttle_counts_suppressed_messages() -> None:
    now = [0.0]
    throttle = Throttle(rate_per_s=1, burst=2, clock=lambda: now[0])

    assert [throttle.admit("a") for _ in range(4)] == [(True, 0), (True, 0), (False, 0), (False, 0)]
    assert throttle.admit("b") == (True, 0)
    now[0] = 1.5
    assert throttle.admit("a") == (True, 2)
    for number in range(5000):
        throttle.admit(str(number))
    assert throttle.admit("a") == (True, 0)


def test_logs_hold_no_identity(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ds = ct_dataset()
    ds.PatientName, ds.PatientID = "CANARY^PHI", "CANARY-ID"
    send(node, ds)
    ds.PixelData = bytes(len(ds.PixelData))
    send(node, ds)
    receive_instance(node.intake, announced(ds), encoded(ds)[:-9], SENDER)

    written = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "CANARY" not in written
    assert str(ds.SOPInstanceUID) not in written
