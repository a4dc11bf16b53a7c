"""Command sets that the fast path reads and writes itself: always Implicit VR Little Endian (PS3.7 6.3.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from dicom_node.encoding.status import Status

C_STORE_RQ = 0x0001
QUERY_REQUESTS = frozenset({0x0010, 0x0020, 0x0021})
"""C-GET-RQ, C-FIND-RQ and C-MOVE-RQ."""
KNOWN_REQUESTS = frozenset({0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0FFF, *range(0x0100, 0x0160, 0x10)})
"""Command Fields of requests (PS3.7 E.1); responses have 0x8000 set and are let through to the library."""
NO_DATASET = 0x0101
_CLASS, _FIELD, _MESSAGE_ID, _ANSWERED_ID, _DATASET_TYPE = 0x0002, 0x0100, 0x0110, 0x0120, 0x0800
_PRIORITY, _STATUS, _COMMENT, _INSTANCE = 0x0700, 0x0900, 0x0902, 0x1000
_HIGH = b"\x01\x00"


class CommandSetError(ValueError):
    """A command set that cannot be read; the association is aborted."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE request (PS3.7 9.3.1.1). UIDs without padding."""

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool
    has_high_priority: bool = False
    """Priority (0000,0700) is HIGH."""


def read_elements(command_set: bytes) -> dict[int, bytes]:
    """Split a command set into its elements.

    Raises
    ------
    CommandSetError
        Not group 0000, not in order, or cut off.
    """
    elements: dict[int, bytes] = {}
    offset, last = 0, -1
    while offset < len(command_set):
        if offset + 8 > len(command_set):
            raise CommandSetError("cut off")
        group, element, length = struct.unpack_from("<HHL", command_set, offset)
        end = offset + 8 + length
        if group != 0 or element <= last or end > len(command_set):
            raise CommandSetError("not a command set")
        elements[element] = command_set[offset + 8 : end]
        offset, last = end, element
    return elements


def command_field(elements: dict[int, bytes]) -> int:
    """Return the Command Field.

    Raises
    ------
    CommandSetError
        Missing, or unknown.
    """
    field = _number(elements, _FIELD)
    if field & 0x7FFF not in KNOWN_REQUESTS:
        raise CommandSetError("unknown command")
    return field


def has_dataset(elements: dict[int, bytes]) -> bool:
    """Return True if a dataset follows (PS3.7 E.1, Command Data Set Type)."""
    return _number(elements, _DATASET_TYPE) != NO_DATASET


def store_request(context_id: int, elements: dict[int, bytes]) -> StoreRequest:
    """Parse a C-STORE request.

    Raises
    ------
    CommandSetError
        It lacks what it must have.
    """
    return StoreRequest(
        context_id,
        _number(elements, _MESSAGE_ID),
        _text(elements, _CLASS),
        _text(elements, _INSTANCE),
        has_dataset(elements),
        elements.get(_PRIORITY) == _HIGH,
    )


def store_response(request: StoreRequest, status: Status, comment: str = "") -> bytes:
    """Encode the C-STORE response to a request as one P-DATA-TF PDU (PS3.7 9.3.1.2, PS3.8 9.3.5)."""
    elements = [(_FIELD, struct.pack("<H", 0x8000 | C_STORE_RQ))]
    elements += [(_ANSWERED_ID, struct.pack("<H", request.message_id))]
    elements += [(_DATASET_TYPE, struct.pack("<H", NO_DATASET)), (_STATUS, struct.pack("<H", status))]
    if comment:
        elements.append((_COMMENT, _padded(comment[:64], b" ")))
    for element, uid in ((_CLASS, request.sop_class_uid), (_INSTANCE, request.sop_instance_uid)):
        if len(uid) <= 64:
            elements.append((element, _padded(uid, b"\0")))
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in sorted(elements))
    command = struct.pack("<HHLL", 0, 0, 4, len(body)) + body
    item = struct.pack(">LBB", len(command) + 2, request.context_id, 3) + command
    return struct.pack(">BBL", 4, 0, len(item)) + item


def _padded(text: str, padding: bytes) -> bytes:
    value = text.encode("latin-1", errors="replace")
    return value + padding * (len(value) % 2)


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    if len(value) != 2:
        raise CommandSetError("a number is missing")
    return int.from_bytes(value, "little")


def _text(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").decode("latin-1").strip("\0 ")
