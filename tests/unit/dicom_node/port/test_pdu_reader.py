"""PDUs are read complete however the network cuts them; endless ones time out."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.port.pdu_reader import ClosedError, PduError, PduReader

MAX_PDU_BYTES = 20_000


def pdu(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(value)) + value


@contextmanager
def pair(first: bytes = b"") -> Iterator[tuple[socket.socket, PduReader]]:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield theirs, PduReader(ours, MAX_PDU_BYTES, first)


SIZES = st.one_of(st.integers(0, 40), st.integers(4080, 4110), st.integers(0, MAX_PDU_BYTES))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(SIZES, min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 9000), max_size=12),
    read_ahead=st.integers(0, 30),
)
def test_pdus_come_out_whole_however_they_are_cut(sizes: list[int], cuts: list[int], read_ahead: int) -> None:
    sent = [pdu(4, bytes([number % 251]) * size) for number, size in enumerate(sizes)]
    stream = b"".join(sent)
    read_ahead = min(read_ahead, len(stream))
    with pair(stream[:read_ahead]) as (theirs, reader):

        def dribble() -> None:
            start = read_ahead
            for cut in [*cuts, len(stream)]:
                theirs.sendall(stream[start : start + cut])
                start += cut

        sender = threading.Thread(target=dribble)
        sender.start()
        for sent_pdu in sent:
            kind, value = reader.read_pdu(30)
            assert kind == 4
            assert bytes(value) == sent_pdu[6:]
        sender.join()
        assert not reader.has_bytes


@pytest.mark.parametrize("sent", [b"", b"\4", pdu(4, bytes(100))[:-1], pdu(4, bytes(9000))[:-1]])
def test_a_peer_that_stops_sending_times_out(sent: bytes) -> None:
    with pair() as (theirs, reader):
        theirs.sendall(sent)
        began = time.monotonic()
        with pytest.raises(ClosedError):
            reader.read_pdu(0.5)
        assert time.monotonic() - began < 20


def test_a_peer_that_sends_single_bytes_times_out() -> None:
    with pair() as (theirs, reader):
        is_over = threading.Event()

        def drip() -> None:
            while not is_over.wait(0.05):
                theirs.sendall(b"\4")

        dripping = threading.Thread(target=drip)
        theirs.sendall(struct.pack(">BBL", 4, 0, MAX_PDU_BYTES))
        dripping.start()
        with pytest.raises(ClosedError):
            reader.read_pdu(0.5)
        is_over.set()
        dripping.join()


@pytest.mark.parametrize("sent", [b"\0" * 6, b"\x08\0\0\0\0\0", struct.pack(">BBL", 4, 0, MAX_PDU_BYTES + 1)])
def test_what_is_no_pdu_is_refused_unread(sent: bytes) -> None:
    with pair() as (theirs, reader):
        theirs.sendall(sent)
        with pytest.raises(PduError):
            reader.read_pdu(5)


@pytest.mark.parametrize("sent", [b"", pdu(4, bytes(9000))[:5000]])
def test_a_closed_connection_is_distinguished_from_a_silent_one(sent: bytes) -> None:
    with pair() as (theirs, reader):
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ClosedError, match="closed"):
            reader.read_pdu(30)
