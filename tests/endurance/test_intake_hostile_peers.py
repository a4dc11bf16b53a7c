"""Peers that are silent, slow, wrong or greedy: none may keep a legitimate sender waiting, and none may cost much."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import build_context

from dicom_node.client.scu_association import RequestingEntity
from dicom_node.port.acceptor import AcceptorLimits
from dicom_node.port.access import PeerRule
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.port.shared_socket import Port
from dicom_node.services.storage_service import start_listener
from tests.support.intake import CT, IMPLICIT, Node, ct_dataset, listening, part10, running_node

LIMITS = AcceptorLimits(connections=64, connections_per_address=48, timeout_s=1.5, admission_s=3)
PROMPT_S = 10
"""Far more than is needed (some hundredths of a second), far less than what a sender waits; machines are shared."""
SETTINGS = ListenerSettings(port=0, timeout_s=2, max_associations=8, acceptor=LIMITS)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


@pytest.fixture
def listener(node: Node) -> Iterator[Listener]:
    with listening(node, SETTINGS) as opened:
        yield opened


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def associate_rq(called: str = "LUNGNODE", calling: str = "PACS", *, syntax: str = IMPLICIT) -> bytes:
    context = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, syntax.encode()))
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3.4"))
    names = called.ljust(16).encode() + calling.ljust(16).encode()
    value = struct.pack(">HH", 1, 0) + names + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return struct.pack(">BBL", 1, 0, len(value)) + value


def p_data(control: int, value: bytes, context_id: int = 1) -> bytes:
    pdv = struct.pack(">LBB", len(value) + 2, context_id, control) + value
    return struct.pack(">BBL", 4, 0, len(pdv)) + pdv


def store_command(instance: bytes = b"1.2.3.4\0") -> bytes:
    elements = ((2, CT.encode() + b"\0"), (0x100, b"\1\0"), (0x110, b"\1\0"), (0x700, b"\0\0"), (0x800, b"\0\0"))
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in (*elements, (0x1000, instance)))
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=5)


def associated(listener: Listener, calling: str = "PACS") -> socket.socket:
    connection = connect(listener)
    connection.sendall(associate_rq(calling=calling))
    assert connection.recv(4096)[:1] == b"\2"
    return connection


def legitimate_store(listener: Listener, timeout_s: float = 10) -> tuple[int, float]:
    """Status of a C-STORE by someone else, and how long it took with everything around it."""
    ae = RequestingEntity("LEGIT")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = timeout_s
    ae.requested_contexts = [build_context(CT)]
    ds = ct_dataset(random.randrange(1 << 30))
    part10(ds)
    started = time.monotonic()
    association = ae.associate("127.0.0.1", listener.port, ae_title="LUNGNODE")
    if not association.is_established:
        return -1, time.monotonic() - started
    status = association.send_c_store(ds).get("Status", -2)
    association.release()
    return status, time.monotonic() - started


def is_closed(connection: socket.socket, within_s: float) -> bool:
    connection.settimeout(within_s)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def many(count: int, make: Callable[[], socket.socket]) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(make()) for _ in range(count)]


def saying(listener: Listener, words: bytes) -> Callable[[], socket.socket]:
    def make() -> socket.socket:
        connection = connect(listener)
        connection.sendall(words)
        return connection

    return make


@pytest.mark.parametrize("count", [1, 40, 150])
@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"\1\0\0",
        associate_rq()[:-1],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\1\0\xff\xff\xff\xff",
        b"\5\0\0\0\0\4\0\0\0\0",
        b"\x16\3\1\2\0\1\0",
    ],
    ids=["silence", "half a header", "all but a byte", "HTTP", "4 GiB", "a release", "TLS"],
)
def test_connections_that_do_not_negotiate(node: Node, listener: Listener, words: bytes, count: int) -> None:
    with many(count, saying(listener, words)) as connections:
        status, took_s = legitimate_store(listener)

        assert status == 0x0000
        assert took_s < PROMPT_S
        assert listener.association_count <= 1
        deadline = time.monotonic() + LIMITS.timeout_s + PROMPT_S
        assert all(is_closed(connection, max(0.1, deadline - time.monotonic())) for connection in connections)


def test_one_byte_now_and_then_does_not_keep_a_connection(listener: Listener) -> None:
    started = time.monotonic()
    with connect(listener) as connection:
        connection.settimeout(0.2)
        closed = False
        for byte in associate_rq():
            try:
                connection.sendall(bytes([byte]))
                closed = connection.recv(100) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
            if closed:
                break
    assert closed
    assert time.monotonic() - started < LIMITS.timeout_s + PROMPT_S


@pytest.mark.parametrize("count", [1, 8, 40])
def test_idle_associations_give_way(node: Node, listener: Listener, count: int) -> None:
    with many(count, lambda: associated(listener)) as connections:
        status, took_s = legitimate_store(listener)

        assert status == 0x0000
        assert took_s < PROMPT_S
        assert listener.association_count <= SETTINGS.max_associations
        assert all(is_closed(connection, SETTINGS.timeout_s + PROMPT_S) for connection in connections)
    status, _ = legitimate_store(listener)
    assert status == 0x0000


def test_two_listeners_at_one_port_share_its_places(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a process of its own in a service; here both in one, which the port cannot tell."""
    monkeypatch.setattr("dicom_node.port.shared_socket.ACCEPT_DELAY_S", PROMPT_S)  # the less loaded one may be late
    port = Port.shared("127.0.0.1", 0, 2)
    ends = [replace(port.of(number), listening=port.listening.dup()) for number in range(2)]
    listeners = [start_listener(SETTINGS, node.intake, shared=end) for end in ends]
    with many(SETTINGS.max_associations, lambda: associated(listeners[0])):
        assert [listener.association_count for listener in listeners] == [4, 4]
        monkeypatch.undo()
        status, took_s = legitimate_store(listeners[0])

        assert status == 0x0000
        assert took_s < PROMPT_S
        assert all(listener.association_count <= 4 for listener in listeners)
    listeners[0].stop()
    assert legitimate_store(listeners[1])[0] == 0x0000
    listeners[1].stop()
    port.listening.close()


def test_an_association_at_work_does_not_give_way(node: Node, listener: Listener) -> None:
    """Its message goes on slowly, but it goes on; forty idle ones come meanwhile."""
    ds = ct_dataset(5)
    from tests.support.intake import encoded

    content = encoded(ds, IMPLICIT)
    uid = str(ds.SOPInstanceUID).encode()
    with associated(listener) as worker, ExitStack() as stack:
        worker.sendall(p_data(3, store_command(uid + b"\0" * (len(uid) % 2))))
        for start in range(0, len(content), 64):
            piece = content[start : start + 64]
            worker.sendall(p_data(2 if start + 64 >= len(content) else 0, piece))
            if start % 128 == 0:
                stack.enter_context(associated(listener))
        response = worker.recv(4096)
    assert response[:1] == b"\4"
    assert struct.pack("<HHLH", 0, 0x0900, 2, 0) in response
    assert len(node.stored_files()) == 1


@pytest.mark.parametrize("words", [b"\4", p_data(3, store_command()), p_data(3, store_command()) + b"\4\0\0"])
def test_associations_stuck_in_a_pdu_or_message_give_way(node: Node, words: bytes) -> None:
    """With the longest timeouts, which must never expire."""
    settings = ListenerSettings(port=0, timeout_s=60, max_associations=4, acceptor=AcceptorLimits(admission_s=20))
    with listening(node, settings) as listener, many(8, lambda: associated(listener)) as connections:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(words)
        status, took_s = legitimate_store(listener, timeout_s=30)

        assert status == 0x0000
        assert took_s < 20
        assert listener.association_count <= 4


def test_a_few_bytes_now_and_then_are_no_progress(node: Node) -> None:
    settings = ListenerSettings(port=0, timeout_s=60, max_associations=2, acceptor=AcceptorLimits(admission_s=20))
    is_over = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(p_data(3, store_command()))
        while not is_over.wait(0.3):
            try:
                connection.sendall(p_data(0, b"x"))
            except OSError:
                return

    with listening(node, settings) as listener, many(2, lambda: associated(listener)) as connections:
        threads = [threading.Thread(target=drip, args=(connection,)) for connection in connections]
        for thread in threads:
            thread.start()
        status, took_s = legitimate_store(listener, timeout_s=30)
        is_over.set()
        for thread in threads:
            thread.join()
    assert status == 0x0000
    assert took_s < 20


def test_a_message_that_stalls_is_dropped_with_what_came_of_it(node: Node, listener: Listener) -> None:
    with associated(listener) as connection:
        connection.sendall(p_data(3, store_command()) + p_data(0, bytes(1000)))
        assert is_closed(connection, SETTINGS.timeout_s + PROMPT_S)
    assert not node.partial_files()


def test_half_a_pdu_within_an_association_is_dropped(node: Node, listener: Listener) -> None:
    with associated(listener) as connection:
        connection.sendall(p_data(3, store_command()) + p_data(0, bytes(1000))[:-10])
        assert is_closed(connection, SETTINGS.timeout_s + PROMPT_S)
    status, _ = legitimate_store(listener)
    assert status == 0x0000


@pytest.mark.parametrize(
    "words",
    [
        b"\4\0\xff\xff\xff\xff",
        b"\4\0" + struct.pack(">L", SETTINGS.max_pdu_bytes + 1),
        b"\5\0\0\1\0\0",
        b"\7\0\0\0\0\5",
        b"\x09\0\0\0\0\4abcd",
        b"\1\0\0\1\0\1",
    ],
    ids=["4 GiB", "a byte too long", "a long release", "a long abort", "an unknown type", "a long request"],
)
def test_a_pdu_of_impossible_length_ends_the_association_unread(node: Node, listener: Listener, words: bytes) -> None:
    with associated(listener) as connection:
        connection.sendall(words)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 32 << 20:
                connection.sendall(bytes(1 << 16))
                sent += 1 << 16
        assert sent < 16 << 20, "it is cut off"
    status, _ = legitimate_store(listener)
    assert status == 0x0000


@pytest.mark.parametrize(
    "words",
    [
        associate_rq(),
        p_data(0, b"a dataset without a command"),
        p_data(3, store_command(), context_id=7),
        p_data(3, b"no command"),
        p_data(3, store_command()) + p_data(3, store_command()),
        p_data(3, store_command()) + p_data(0, b"x", context_id=3),
        b"\4\0\0\0\0\2\0\0",
        b"\2\0\0\0\0\2\0\0",
        b"\6\0\0\0\0\4\0\0\0\0",
        b"\3\0\0\0\0\4\0\1\1\1",
    ],
)
def test_what_has_no_place_in_an_association_aborts_it(node: Node, listener: Listener, words: bytes) -> None:
    with associated(listener) as connection:
        connection.sendall(words)
        assert connection.recv(100)[:1] == b"\7"
        assert is_closed(connection, PROMPT_S)
    assert not node.partial_files()


def test_a_peer_that_aborts_or_vanishes_in_a_dataset_leaves_nothing(node: Node, listener: Listener) -> None:
    reset = struct.pack("ii", 1, 0)
    for number in range(20):
        connection = associated(listener)
        connection.sendall(p_data(3, store_command()) + p_data(0, bytes(5000)))
        if number % 2:
            connection.sendall(b"\7\0\0\0\0\4\0\0\0\0")
        else:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        connection.close()
    status, _ = legitimate_store(listener)
    assert status == 0x0000
    deadline = time.monotonic() + PROMPT_S
    while (node.partial_files() or listener.association_count) and time.monotonic() < deadline:
        legitimate_store(listener)
    assert not node.partial_files()


def test_a_flood_of_rejected_callers_does_not_fill_the_trail(node: Node, listener: Listener) -> None:
    for _ in range(150):
        with connect(listener) as connection:
            connection.sendall(associate_rq(called="WRONG"))
            assert connection.recv(100)[:1] == b"\3"
    assert node.counters.value("association_rejections", "called-ae-title") == 150
    status, _ = legitimate_store(listener)
    assert status == 0x0000


def test_unknown_hosts_crowd_out_each_other_and_no_peer(node: Node) -> None:
    """Addresses that no peer calls from hold a few connections at most, whatever they do."""
    limits = AcceptorLimits(connections=64, unknown_hosts=8, timeout_s=60)
    settings = ListenerSettings(port=0, timeout_s=5, acceptor=limits, peers=(PeerRule("LEGIT", "127.0.0.1"),))
    with listening(node, settings) as listener, ExitStack() as stack:

        def from_address(address: str) -> socket.socket:
            source = (address, 0)
            return stack.enter_context(
                socket.create_connection(("127.0.0.1", listener.port), timeout=10, source_address=source)
            )

        waiting = [from_address("127.0.0.1") for _ in range(5)]
        unknown_hosts = [from_address("127.0.0.3") for _ in range(100)]
        status, took_s = legitimate_store(listener)

        assert status == 0x0000
        assert took_s < PROMPT_S
        deadline = time.monotonic() + PROMPT_S
        while listener.counters.value("connections_closed", "crowded") < 92 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert listener.counters.value("connections_closed", "crowded") == 92
        assert not any(is_closed(connection, 0.1) for connection in waiting)
        assert sum(is_closed(connection, 0.1) for connection in unknown_hosts) == 92


def test_many_associations_one_after_the_other_leave_nothing_behind(node: Node, listener: Listener) -> None:
    of_other_tests = set(association_threads())  # of listeners of this process whose peers are still waited for
    for _ in range(60):
        with associated(listener) as connection:
            connection.sendall(b"\5\0\0\0\0\4\0\0\0\0")
            assert connection.recv(100)[:1] == b"\6"
    deadline = time.monotonic() + PROMPT_S
    while listener.association_count and time.monotonic() < deadline:
        legitimate_store(listener)
    assert listener.association_count == 0
    while (left := set(association_threads()) - of_other_tests) and time.monotonic() < deadline + PROMPT_S:
        next(iter(left)).join(1)
    assert not left


def association_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dicom-association"]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    with running_node(tmp_path_factory.mktemp("node")) as node, listening(node, SETTINGS) as listener:
        yield listener


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # of pydicom, for identifiers that we let pass
@given(data=st.data())
def test_damaged_conversations_never_stop_the_listener(lasting: Listener, data: st.DataObject) -> None:
    parts = [associate_rq(), p_data(3, store_command()), p_data(0, b"\x08\0\x16\0UI"), p_data(2, b"x" * 20)]
    conversation = bytearray(b"".join(parts[: data.draw(st.integers(1, 4))]))
    for _ in range(data.draw(st.integers(0, 6))):
        conversation[data.draw(st.integers(0, len(conversation) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(conversation)))
    with connect(lasting) as connection:
        connection.sendall(conversation[:cut])


def test_the_listener_is_alive_after_all_that(lasting: Listener) -> None:
    status, took_s = legitimate_store(lasting)
    assert status == 0x0000
    assert took_s < PROMPT_S
