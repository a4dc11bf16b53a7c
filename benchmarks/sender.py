"""A sender that costs next to nothing: one association on a plain socket, instances encoded beforehand."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable, Iterator

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
_PDV_BYTES = 65536


class BrokenOffError(Exception):
    """The receiver ended the association, or never took it."""


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def associate_rq(called: str, calling: str) -> bytes:
    """Encode a request to associate for CT in Explicit VR Little Endian (PS3.8 9.3.2)."""
    context = _item(0x20, b"\1\0\0\0" + _item(0x30, CT.encode()) + _item(0x40, EXPLICIT.encode()))
    user = _item(0x50, _item(0x51, struct.pack(">L", 16384)) + _item(0x52, b"1.2.3.4"))
    names = called.ljust(16).encode() + calling.ljust(16).encode()
    value = struct.pack(">HH", 1, 0) + names + bytes(32) + _item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return struct.pack(">BBL", 1, 0, len(value)) + value


def _p_data(control: int, value: bytes) -> bytes:
    return struct.pack(">BBLLBB", 4, 0, len(value) + 6, len(value) + 2, 1, control) + value


def _store_rq(number: int, sop_instance_uid: str) -> bytes:
    """PS3.7 9.3.1.1."""

    def padded(uid: str) -> bytes:
        return uid.encode() + b"\0" * (len(uid) % 2)

    number_bytes = struct.pack("<H", number % 65536)
    elements = (
        (0x0002, padded(CT)),
        (0x0100, b"\1\0"),
        (0x0110, number_bytes),
        (0x0700, b"\0\0"),
        (0x0800, b"\0\0"),
        (0x1000, padded(sop_instance_uid)),
    )
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _pdu(connection: socket.socket) -> tuple[int, bytes]:
    kind, _, length = struct.unpack(">BBL", _exactly(connection, 6))
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        received = connection.recv(size - len(content))
        if not received:
            raise BrokenOffError
        content += received
    return content


def connect(port: int, timeout_s: float, tls: ssl.SSLContext | None = None) -> socket.socket:
    """Connect to a receiver on this machine, by TLS where a context is given."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is None:
        return plain
    try:
        return tls.wrap_socket(plain, server_hostname="localhost")
    except OSError:
        plain.close()
        raise


def send(
    port: int,
    called: str,
    instances: Iterable[tuple[str, bytes]],
    *,
    calling: str = "BENCHSCU",
    timeout_s: float = 60.0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[tuple[str, int]]:
    """Send instances on one association; gives (SOP Instance UID, status) of each as it is answered.

    Raises
    ------
    BrokenOffError
        The association ended before all was answered.
    """
    try:
        with connect(port, timeout_s, tls) as connection:
            connection.sendall(associate_rq(called, calling))
            if _pdu(connection)[0] != 2:
                raise BrokenOffError
            for number, (uid, dataset) in enumerate(instances):
                connection.sendall(_p_data(3, _store_rq(number, uid)))
                for start in range(0, len(dataset), _PDV_BYTES):
                    piece = dataset[start : start + _PDV_BYTES]
                    connection.sendall(_p_data(2 if start + len(piece) == len(dataset) else 0, piece))
                yield uid, _status(_pdu(connection))
            connection.sendall(b"\5\0\0\0\0\4\0\0\0\0")
            _pdu(connection)
    except OSError:
        raise BrokenOffError from None


def _status(pdu: tuple[int, bytes]) -> int:
    kind, value = pdu
    at = value.find(b"\0\0\0\x09\2\0\0\0")  # (0000,0900) with its length of 2
    if kind != 4 or at < 0:
        raise BrokenOffError
    return int.from_bytes(value[at + 8 : at + 10], "little")
