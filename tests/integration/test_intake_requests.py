"""Associations that DICOM allows come about, however odd the request, and each refusal is logged with its reason."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context
from pynetdicom.sop_class import CTImageStorage, Verification

from db.monitoring import association_log
from dicom_node.client.scu_association import RequestingEntity
from dicom_node.port.acceptor import AcceptorLimits
from dicom_node.port.access import PeerRule
from dicom_node.port.listener import Listener, ListenerSettings
from tests.support.intake import CT, IMPLICIT, Node, listening, running_node

SETTINGS = ListenerSettings(port=0, timeout_s=20, acceptor=AcceptorLimits(timeout_s=1.0))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(scope="module")
def listener(node: Node) -> Iterator[Listener]:
    with listening(node, SETTINGS) as opened:
        yield opened


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def prefixed(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


VERIFICATION = b"1.2.840.10008.1.1"
APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")


def context(number: int = 1, abstract: bytes = VERIFICATION, *syntaxes: bytes) -> bytes:
    items = item(0x30, abstract) + b"".join(item(0x40, one) for one in syntaxes or (IMPLICIT.encode(),))
    return item(0x20, bytes([number, 0, 0, 0]) + items)


def user(*items: bytes, max_pdu_bytes: int = 16384) -> bytes:
    return item(0x50, item(0x51, struct.pack(">L", max_pdu_bytes)) + item(0x52, b"1.2.3.4") + b"".join(items))


def request(*items: bytes, calling: bytes = b"PACS", called: bytes = b"LUNGNODE", reserved: bytes = bytes(32)) -> bytes:
    content = struct.pack(">HH", 1, 0) + called.ljust(16) + calling.ljust(16) + reserved + b"".join(items)
    return struct.pack(">BBL", 1, 0, len(content)) + content


def answer(listener: Listener, pdu: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", listener.port), timeout=30) as connection:
        connection.sendall(pdu)
        received = b""
        while len(received) < 6 or len(received) < 6 + struct.unpack_from(">L", received, 2)[0]:
            piece = connection.recv(65536)
            if not piece:
                break
            received += piece
        return received


def results(accept: bytes) -> dict[int, int]:
    """Result of each presentation context of an A-ASSOCIATE-AC, by its number."""
    by_context, offset = {}, 74
    while offset < len(accept):
        kind, length = struct.unpack_from(">BxH", accept, offset)
        if kind == 0x21:
            by_context[accept[offset + 4]] = accept[offset + 6]
        offset += 4 + length
    return by_context


CT_UID = CT.encode()
FINE = context()


@pytest.mark.parametrize(
    ("pdu", "expected"),
    [
        pytest.param(request(APPLICATION, FINE, user()), {1: 0}, id="plain"),
        pytest.param(request(APPLICATION, FINE, user(item(0x53, b"\0\0\0\0"))), {1: 0}, id="asynchronous operations"),
        pytest.param(request(APPLICATION, FINE, user(item(0x58, b"\2\1" + prefixed(b"joe") + prefixed(b"pw")))), {1: 0},
                     id="user and password"),
        pytest.param(request(APPLICATION, FINE, user(item(0x58, b"\7\1" + prefixed(b"?") + prefixed(b"")))), {1: 0},
                     id="an identity of unknown type"),
        pytest.param(request(APPLICATION, FINE, user(item(0x56, prefixed(CT_UID) + b"\1\2\0\0\0\0"))), {1: 0},
                     id="extended negotiation"),
        pytest.param(request(APPLICATION, FINE, user(item(0x57, prefixed(CT_UID) + prefixed(b"1.2.840.10008.4.2")))),
                     {1: 0}, id="common extended negotiation"),
        pytest.param(request(APPLICATION, FINE, user(item(0x5F, b"abcd"), item(0xEE, b""))), {1: 0}, id="unrecognized"),
        pytest.param(request(APPLICATION, FINE, user(item(0x55, b"VENDOR PACS IMPLEMENTATION 12.3 "))), {1: 0},
                     id="a long implementation name"),
        pytest.param(request(APPLICATION, FINE, user(max_pdu_bytes=0)), {1: 0}, id="unlimited PDU"),
        pytest.param(request(APPLICATION, FINE, user(max_pdu_bytes=0xFFFFFFFF)), {1: 0}, id="4 GiB PDU"),
        pytest.param(request(user(), FINE, APPLICATION), {1: 0}, id="in another order"),
        pytest.param(request(APPLICATION, item(0x99, b"?"), FINE, user(), item(0x60, b"")), {1: 0}, id="unknown items"),
        pytest.param(request(APPLICATION, FINE, user(), reserved=b"\xff" * 32), {1: 0}, id="reserved bytes"),
        pytest.param(request(APPLICATION, FINE, user(), calling=b"PACS".ljust(16, b"\0")), {1: 0}, id="NUL-padded"),
        pytest.param(request(APPLICATION, FINE, user(), called=b"LUNGNODE".ljust(16, b"\0")), {1: 0}, id="called NUL"),
        pytest.param(request(APPLICATION, FINE, context(3, b"1.2.PRIVATE.3"), user()), {1: 0, 3: 3}, id="no UID"),
        pytest.param(request(APPLICATION, FINE, context(3, VERIFICATION, b""), user()), {1: 0, 3: 4}, id="no syntax"),
        pytest.param(request(APPLICATION, FINE, context(3, b"1.3.12.2.1107.9"), user()), {1: 0, 3: 3}, id="private"),
        pytest.param(request(APPLICATION, FINE, context(3, CT_UID, b"1.2.840.113619.5.2"), user()), {1: 0, 3: 4},
                     id="a private transfer syntax"),
        pytest.param(request(APPLICATION, FINE, context(2), user()), {1: 0, 2: 2}, id="an even number"),
        pytest.param(request(APPLICATION, context(2), user()), {2: 2}, id="even numbers only"),
        pytest.param(request(APPLICATION, FINE, FINE, user()), {1: 0}, id="the same twice"),
        pytest.param(request(APPLICATION, FINE, context(1, CT_UID), context(3), user()), {1: 3, 3: 0}, id="one number"),
        pytest.param(request(APPLICATION, context(1, b"1.2.3.4"), user()), {1: 3}, id="nothing is accepted"),
    ],
)  # fmt: skip
def test_requests_that_dicom_allows_are_accepted(listener: Listener, pdu: bytes, expected: dict[int, int]) -> None:
    for _ in range(2):  # the second is answered from what was negotiated before
        accept = answer(listener, pdu)
        assert accept[:1] == b"\2"
        assert results(accept) == expected


@pytest.mark.parametrize("count", [60, 128])
def test_large_requests_are_accepted(listener: Listener, count: int) -> None:
    ae = RequestingEntity("PACS")
    others = [
        str(one.abstract_syntax) for one in AllStoragePresentationContexts if one.abstract_syntax != CTImageStorage
    ]
    chosen = [CTImageStorage, Verification, *others[: count - 2]]
    ae.requested_contexts = [build_context(uid, ALL_TRANSFER_SYNTAXES) for uid in chosen]
    association = ae.associate("127.0.0.1", listener.port, ae_title="LUNGNODE")
    assert association.is_established
    assert {str(one.abstract_syntax) for one in association.accepted_contexts} >= {CT, VERIFICATION.decode()}
    assert len(association.accepted_contexts) + len(association.rejected_contexts) == count
    assert association.send_c_echo().Status == 0
    association.release()


CALLED = b"LUNGNODE\n".ljust(16)


@pytest.mark.parametrize(
    ("pdu", "event", "reason"),
    [
        pytest.param(request(APPLICATION, FINE, user(), called=b"OTHER"), "rejected", "called-ae-title", id="called"),
        pytest.param(request(APPLICATION, FINE, user(), called=CALLED), "rejected", "called-ae-title", id="line feed"),
        pytest.param(request(APPLICATION, FINE, user(), calling=b"PACS\t"), "rejected", "calling-ae-title", id="tab"),
        pytest.param(request(APPLICATION, user()), "aborted", "request-without-contexts", id="no contexts"),
        pytest.param(request(APPLICATION, FINE[:-1]), "aborted", "request-item-length", id="cut off"),
        pytest.param(request(APPLICATION, FINE, item(0x50, item(0x51, b"\0"))), "aborted", "request-maximum-length",
                     id="maximum length"),
        pytest.param(request(APPLICATION, FINE, *[item(0x50, item(0x59, b"") * 16000)] * 2), "aborted",
                     "request-too-many-items", id="too many items"),
        pytest.param(b"\1\0\x7f\xff\xff\xff", "aborted", "length", id="2 GiB"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "aborted", "not-dicom", id="HTTP"),
        pytest.param(b"\5\0\0\0\0\4\0\0\0\0", "aborted", "not-dicom", id="a release"),
        pytest.param(request(APPLICATION, FINE, user())[:-1], "aborted", "timeout", id="incomplete"),
    ],
)  # fmt: skip
def test_each_refusal_is_logged_with_its_reason(
    listener: Listener, pdu: bytes, event: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    received = answer(listener, pdu)
    assert received[:1] == {"rejected": b"\3", "aborted": b"\7"}[event] or reason == "timeout"
    (logged,) = wait_for(lambda: [one for one in caplog.records if one.msg == f"association:{event}"])
    assert logged.reason_code == reason
    assert logged.peer_address == "127.0.0.1"
    assert logged.calling_ae_title in ("PACS", "")


def wait_for(find: Any) -> Any:
    deadline = time.monotonic() + 20
    while not (value := find()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


def test_unfinished_requests_take_bounded_memory(tmp_path: Path) -> None:
    limits = AcceptorLimits(timeout_s=60, buffered_bytes=1 << 20)
    with (
        running_node(tmp_path) as node,
        listening(node, ListenerSettings(port=0, acceptor=limits)) as listener,
    ):
        head = struct.pack(">BBL", 1, 0, 900_000)
        connections = []
        for _ in range(6):
            connection = socket.create_connection(("127.0.0.1", listener.port), timeout=30)
            connections.append(connection)
            connection.sendall(head + bytes(500_000))
        assert wait_for(lambda: listener.counters.value("connections_closed", "crowded") >= 4)
        assert answer(listener, request(APPLICATION, FINE, user()))[:1] == b"\2"
        for connection in connections:
            connection.close()


def test_associations_and_refusals_are_counted_in_the_database(tmp_path: Path) -> None:
    peers = (PeerRule("PACS", "127.0.0.1"),)
    with running_node(tmp_path) as node:
        with listening(node, ListenerSettings(port=0, peers=peers)) as listener:
            for calling in (b"PACS", b"PACS", b"CT1", b"C\n<b>"):
                answer(listener, request(APPLICATION, FINE, user(), calling=calling))
            answer(listener, request(APPLICATION, context(1, b"1.2.3"), user()))
            answer(listener, b"GET / HTTP/1.1\r\n\r\n")
        with node.database.read() as session:
            listed = {
                (one.event.calling_ae_title, one.event.result, one.event.reason): one.count
                for one in association_log.recent(session)
            }
    assert listed.pop(("PACS", "aborted", "closed-by-peer"), 0) <= 3
    listed.pop(("PACS", "aborted", "evicted"), 0)
    assert listed == {
        ("PACS", "accepted", ""): 2,
        ("PACS", "accepted", "no-context-accepted"): 1,
        ("CT1", "rejected", "calling-ae-title"): 1,
        ("C?<b>", "rejected", "calling-ae-title"): 1,
        ("", "aborted", "not-dicom"): 1,
    }
