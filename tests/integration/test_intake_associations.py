"""Real associations: pynetdicom's and DCMTK's clients against the listener, on both paths of reception."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from benchmarks.receivers import path_without_ours
from benchmarks.sender import associate_rq
from db.audit import trail as audit
from db.domain.worklist import WorklistQuery
from db.worklist.rows import worklist_page
from dicom_node.client.scu_association import RequestingEntity
from dicom_node.encoding.transfer_syntaxes import STORAGE_CLASSES, TRANSFER_SYNTAXES
from dicom_node.port.access import PeerRule
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.storage.instance_store import dataset_sha256
from tests.support.intake import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    RLE,
    Node,
    ct_dataset,
    encoded,
    listening,
    part10,
    running_node,
)
from tests.support.records import instance_record
from tests.support.service import until

VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


@pytest.fixture(params=["fast", "stock"])
def listener(request: pytest.FixtureRequest, node: Node) -> Iterator[Listener]:
    with listening(node, ListenerSettings(port=0, timeout_s=10, is_fast=request.param == "fast")) as opened:
        yield opened


def associate(
    listener: Listener,
    *syntaxes: str,
    sop_class: str = CT,
    calling: str = "PACS",
    called: str = "LUNGNODE",
    **more: Any,
) -> Association:
    ae = RequestingEntity(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    ae.requested_contexts = [build_context(sop_class, syntax) for syntax in syntaxes or (EXPLICIT,)]
    ae.add_requested_context(VERIFICATION)
    return ae.associate("127.0.0.1", listener.port, ae_title=called, **more)


def store_bytes(
    association: Association,
    content: bytes,
    *,
    sop_class: str = CT,
    instance: str,
    context_id: int = 1,
    priority: int = 2,
) -> Dataset:
    """C-STORE whatever bytes, under whatever command."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, priority
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, instance
    request.DataSet = io.BytesIO(content)
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    association.dimse.send_msg(request, context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert response is not None, "no response"
    status = Dataset()
    status.Status = response.Status
    status.ErrorComment = response.ErrorComment or ""
    return status


def test_verification_is_answered(listener: Listener) -> None:
    association = associate(listener)
    assert association.is_established
    for _ in range(3):
        assert association.send_c_echo().Status == 0x0000
    association.release()


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_native_instances_arrive_as_they_were_sent(node: Node, listener: Listener, syntax: str) -> None:
    ds = ct_dataset()
    content = encoded(ds, syntax)
    association = associate(listener, syntax)

    assert store_bytes(association, content, instance=ds.SOPInstanceUID).Status == 0x0000
    association.release()

    (path,) = node.stored_files()
    assert path.read_bytes().endswith(content)
    with node.database.read() as session:
        record = instance_record(session, ds.SOPInstanceUID)
    assert record is not None
    assert record.transfer_syntax_uid == syntax
    assert dataset_sha256(path) == record.sha256


def test_a_compressed_instance_arrives_as_it_was_sent(node: Node, listener: Listener) -> None:
    ds = ct_dataset()
    part10(ds)
    ds.compress(RLELossless, generate_instance_uid=False)
    association = associate(listener, RLE)

    assert association.send_c_store(ds).Status == 0x0000
    association.release()
    assert len(node.stored_files()) == 1


def test_every_offered_context_is_accepted(listener: Listener) -> None:
    for sop_class in STORAGE_CLASSES:
        association = associate(listener, *TRANSFER_SYNTAXES, sop_class=sop_class)
        assert len(association.accepted_contexts) == len(TRANSFER_SYNTAXES) + 1
        association.release()


def test_classes_that_are_not_taken_are_not_negotiated(listener: Listener) -> None:
    association = associate(listener, sop_class="1.2.840.10008.5.1.4.1.1.4")  # MR

    assert [context.abstract_syntax for context in association.accepted_contexts] == [VERIFICATION]
    association.release()


def test_the_association_answer_has_a_large_pdu_and_our_implementation_name(listener: Listener) -> None:
    association = associate(listener)
    assert association.acceptor.maximum_length >= 131072
    assert association.acceptor.implementation_version_name == "LUNGNODE"
    association.release()


def answer_to(listener: Listener, request: bytes) -> bytes:
    """Return the complete answer of the port to an A-ASSOCIATE-RQ."""
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as connection:
        connection.sendall(request)
        head = connection.recv(6, socket.MSG_WAITALL)
        return head + connection.recv(int.from_bytes(head[2:]), socket.MSG_WAITALL)


def test_a_remembered_answer_is_what_was_negotiated(node: Node, listener: Listener) -> None:
    request = associate_rq("LUNGNODE", "PACS")
    negotiated = answer_to(listener, request)
    assert negotiated[0] == 2
    until(lambda: listener.negotiation_cache.find(request), lambda cached: cached is not None)  # once the answer is out
    assert answer_to(listener, request) == negotiated
    other = request.replace(b"PACS  ", b"PACS2 ")
    assert listener.negotiation_cache.find(other) is None
    assert answer_to(listener, other)[:10] == negotiated[:10]
    other_request = request.replace(b"LUNGNODE", b"SOMEBODY")
    assert answer_to(listener, other_request)[0] == 3


def test_an_association_by_a_remembered_answer_is_like_any_other(
    node: Node, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, 4):
        association = associate(listener)
        assert association.is_established
        assert [cx.as_scp for cx in association.accepted_contexts] == [False, False]
        assert association.send_c_echo().Status == 0x0000
        ds = ct_dataset(number)
        part10(ds)
        assert association.send_c_store(ds).Status == 0x0000
        association.release()
        assert association.is_released
    listener.stop()
    assert node.intake.counters.value("associations", "accepted") == 3
    assert node.intake.counters.value("associations", "released") == 3
    assert not [record for record in caplog.records if record.message.endswith(":failed")]


def test_credentials_of_a_request_are_never_remembered(listener: Listener) -> None:
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"somebody", b"secret"
    identity.positive_response_requested = False
    for _ in range(2):
        association = associate(listener, ext_neg=[identity])
        assert association.is_established
        association.release()
    (cached,) = listener.negotiation_cache._results.values()
    assert not any(isinstance(one, UserIdentityNegotiation) for one in cached.request.user_information)


def test_sending_again_and_conflicts(node: Node, listener: Listener) -> None:
    ds = ct_dataset()
    association = associate(listener)
    statuses = [store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID).Status for _ in range(2)]
    ds.PixelData = bytes(len(ds.PixelData))
    conflict = store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID)
    association.release()

    assert statuses == [0x0000, 0x0000]
    assert conflict.Status == 0x0111
    assert "first is kept" in conflict.ErrorComment
    assert len(node.stored_files()) == 1


def hostile_datasets() -> list[tuple[str, bytes, str, int]]:
    ds = ct_dataset()
    good, instance = encoded(ds), str(ds.SOPInstanceUID)
    return [
        ("cut off", good[:-7], instance, 0xC000),
        ("junk", b"GET / HTTP/1.1\r\n\r\n" * 40, instance, 0xC000),
        ("another instance", good, "1.2.3", 0xA900),
        ("another encoding", encoded(ds, IMPLICIT), instance, 0xC000),
        ("a whole file", part10(ds), instance, 0xC000),
        ("no study", good.replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0c\x00UI"), instance, 0xC000),
        ("another class inside", good.replace(b"1.1.2\0", b"1.1.4\0", 1), instance, 0xA900),
        ("nothing but an element", good[:40], instance, 0xC000),
    ]


@pytest.mark.parametrize(
    ("what", "content", "instance", "status"), hostile_datasets(), ids=[row[0] for row in hostile_datasets()]
)
def test_refusals_over_the_wire(
    node: Node, listener: Listener, what: str, content: bytes, instance: str, status: int
) -> None:
    association = associate(listener)
    response = store_bytes(association, content, instance=instance)
    ds = ct_dataset(2)
    after = store_bytes(association, encoded(ds), instance=str(ds.SOPInstanceUID))
    association.release()

    assert response.Status == status
    assert response.ErrorComment
    assert after.Status == 0x0000, "the association goes on"
    assert len(node.stored_files()) == 1
    assert not node.partial_files()


def test_a_class_other_than_its_context_is_not_supported(node: Node, listener: Listener) -> None:
    ds = ct_dataset()
    association = associate(listener)
    other = "1.2.840.10008.5.1.4.1.1.2.1"

    assert store_bytes(association, encoded(ds), sop_class=other, instance=ds.SOPInstanceUID).Status == 0x0122
    association.release()
    assert not node.stored_files()


@pytest.fixture
def restricted(node: Node) -> Iterator[Listener]:
    peers = (
        PeerRule("PACS", "127.0.0.1"),
        PeerRule("VIEWER", "127.0.0.1", may_store=False),
        PeerRule("FAR", "127.0.0.2"),
    )
    with listening(node, ListenerSettings(port=0, timeout_s=10, peers=peers)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("calling", "called", "source", "reason"),
    [
        ("PACS", "WRONG", "127.0.0.1", 7),
        ("PACS", "lungnode", "127.0.0.1", 7),
        ("STRANGER", "LUNGNODE", "127.0.0.1", 3),
        ("pacs", "LUNGNODE", "127.0.0.1", 3),
        ("PACS", "LUNGNODE", "127.0.0.2", 3),
        ("FAR", "LUNGNODE", "127.0.0.1", 3),
    ],
)
def test_unknown_peers_are_rejected_audited_and_named(
    node: Node,
    restricted: Listener,
    caplog: pytest.LogCaptureFixture,
    calling: str,
    called: str,
    source: str,
    reason: int,
) -> None:
    """On a plain socket: pynetdicom's client takes a rejection for an abort now and then."""
    with socket.create_connection(("127.0.0.1", restricted.port), 10, source_address=(source, 0)) as connection:
        connection.sendall(associate_rq(called, calling))
        answer = connection.recv(100)

    assert answer == bytes([3, 0, 0, 0, 0, 4, 0, 1, 1, reason])  # PS3.8 9.3.4: permanent, by the user
    restricted.stop()
    with node.database.read() as session:
        (entry,) = audit.recent(session, limit=10)
    assert entry.event.action == "association:rejected"
    assert entry.event.actor == f"{calling}@{source}"
    (logged,) = [vars(record) for record in caplog.records if record.msg == "association:rejected"]
    assert (logged["calling_ae_title"], logged["called_ae_title"]) == (calling, called)
    assert logged["peer_address"] == source


@pytest.mark.parametrize(("calling", "source", "status"), [("PACS", "127.0.0.1", 0), ("FAR", "127.0.0.2", 0)])
def test_known_peers_may_store_from_where_they_are(
    node: Node, restricted: Listener, calling: str, source: str, status: int
) -> None:
    ds = ct_dataset()
    association = associate(restricted, calling=calling, bind_address=(source, 0))

    assert store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID).Status == status
    association.release()


def test_a_peer_that_may_only_verify_is_refused_each_instance(node: Node, restricted: Listener) -> None:
    ds = ct_dataset()
    association = associate(restricted, calling="VIEWER")

    assert association.send_c_echo().Status == 0x0000
    assert store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID).Status == 0x0124
    association.release()
    assert not node.stored_files()


def test_four_senders_of_the_same_instances_lose_and_double_nothing(node: Node, listener: Listener) -> None:
    datasets = [ct_dataset(number, rows=64) for number in range(25)]

    def push(_: int) -> list[int]:
        association = associate(listener)
        statuses = [store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID).Status for ds in datasets]
        association.release()
        return statuses

    with ThreadPoolExecutor(4) as pool:
        assert [set(statuses) for statuses in pool.map(push, range(4))] == [{0}] * 4

    assert len(node.stored_files()) == 25
    assert node.counters.value("instances", "stored") == 25
    assert node.counters.value("instances", "duplicate") == 75


def test_a_full_disk_is_answered_with_a_failure_status_until_there_is_room(tmp_path: Path) -> None:
    ds = ct_dataset()
    with running_node(tmp_path, min_free_bytes=1 << 62) as node, listening(node) as listener:
        association = associate(listener)
        assert store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID).Status == 0xA700
        node.store._min_free = 0
        assert store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID).Status == 0x0000
        association.release()


def test_an_error_of_our_own_is_answered_and_recorded(
    node: Node, listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ds = ct_dataset()
    monkeypatch.setattr(node.intake, "complete", lambda *_: 1 / 0)
    association = associate(listener)

    response = store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID)
    association.release()

    assert response.Status == 0xC211
    (record,) = [record for record in caplog.records if record.msg == "instance:failed"]
    assert vars(record)["reference"] in response.ErrorComment
    assert not node.partial_files()


def test_stopping_lets_go_of_idle_associations(node: Node) -> None:
    with listening(node) as listener:
        association = associate(listener)
        assert association.is_established
    association.join(60)
    assert association.is_aborted
    assert listener.association_count == 0


def dcmtk(*command: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(command[0], path=path_without_ours())
    if program is None:
        pytest.skip(f"DCMTK's {command[0]} is not installed")
    return subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    series_folder = tmp_path / "series"
    series_folder.mkdir()
    for number in range(12):
        (series_folder / f"{number}.dcm").write_bytes(part10(ct_dataset(number, rows=128)))
    return series_folder


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    "command",
    [
        ["storescu", "+sd"],
        ["storescu", "+sd", "-xi"],
        ["storescu", "+sd", "-xb"],
        ["storescu", "+sd", "-pdu", "4096", "--max-send-pdu", "4096"],
        ["storescu", "+sd", "-pdu", "131072", "--max-send-pdu", "131072"],
        ["dcmsend", "+sd"],
        ["dcmsend", "+sd", "--multi-associations"],
    ],
    ids=" ".join,
)
def test_dcmtk_pushes_a_series(node: Node, listener: Listener, folder: Path, command: list[str]) -> None:
    done = dcmtk(*command, "-aec", "LUNGNODE", "127.0.0.1", str(listener.port), str(folder))

    assert done.returncode == 0, done.stderr
    assert len(node.stored_files()) == 12


@pytest.mark.dcmtk
def test_dcmtk_shows_the_reason_of_a_rejection(node: Node, listener: Listener, tmp_path: Path) -> None:
    path = tmp_path / "spoilt.dcm"
    ds = ct_dataset()
    del ds.StudyInstanceUID
    path.write_bytes(part10(ds))

    done = dcmtk("storescu", "-v", "-aec", "LUNGNODE", "127.0.0.1", str(listener.port), str(path))

    assert "CannotUnderstand" in done.stdout + done.stderr
    assert not node.stored_files()


@pytest.mark.parametrize(
    ("sent", "is_stat"),
    [
        ([(2, "")], False),
        ([(0, "ROUTINE")], False),
        ([(1, "")], True),
        ([(2, "STAT")], True),
        ([(2, ""), (1, "")], True),
        ([(2, ""), (0, ""), (0, "HIGH")], True),
        ([(1, ""), (2, "LOW")], True),
    ],
)
def test_a_study_is_stat_where_any_of_its_instances_asks_for_it(
    node: Node, listener: Listener, sent: list[tuple[int, str]], is_stat: bool
) -> None:
    association = associate(listener)
    for number, (priority, requested) in enumerate(sent, 1):
        ds = ct_dataset(number)
        if requested:
            ds.RequestedProcedurePriority = requested
        response = store_bytes(association, encoded(ds), instance=ds.SOPInstanceUID, priority=priority)
        assert response.Status == 0x0000
    association.release()
    with node.database.read() as session:
        (item,) = worklist_page(session, WorklistQuery()).items
        events = [entry.event.action for entry in audit.recent(session, limit=100)]
    assert (item.is_stat, item.instance_count, events.count("study:stat")) == (is_stat, len(sent), int(is_stat))
