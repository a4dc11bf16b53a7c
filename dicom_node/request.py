"""Looks through an A-ASSOCIATE-RQ before anything is made of it (PS3.8 9.3.2): lengths, identifiers, who calls whom."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.header import is_uid

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_FIXED_BYTES = 74
"""PDU header, protocol version, AE titles and reserved bytes."""
_APPLICATION, _PRESENTATION, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _IMPLEMENTATION_UID = 0x51, 0x52
_MAX_CONTEXTS = 128


class RequestError(ValueError):
    """A request that no association can come of; the connection is aborted."""


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """What decides whether an association is let in. AE titles as sent, 16 characters."""

    is_version_1: bool
    application_context: str
    called_ae_title: str
    calling_ae_title: str


def read_request(pdu: bytes) -> AssociationRequest:
    """Read a whole A-ASSOCIATE-RQ PDU, and check what the library takes for granted.

    Raises
    ------
    RequestError
    """
    end = 6 + struct.unpack_from(">L", pdu, 2)[0]
    if end > len(pdu) or end < _FIXED_BYTES:
        raise RequestError("cut off")
    application_context = ""
    context_ids: set[int] = set()
    for kind, value in _items(memoryview(pdu)[_FIXED_BYTES:end]):
        if kind == _APPLICATION:
            application_context = _uid(value)
        elif kind == _PRESENTATION:
            _check_context(value, context_ids)
        elif kind == _USER:
            _check_user(value)
        else:
            raise RequestError("an unknown item")
    if not context_ids:
        raise RequestError("no presentation context")
    version = struct.unpack_from(">H", pdu, 6)[0]
    return AssociationRequest(
        bool(version & 1), application_context, pdu[10:26].decode("latin-1"), pdu[26:42].decode("latin-1")
    )


def _items(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    offset = 0
    while offset < len(content):
        if offset + 4 > len(content):
            raise RequestError("a cut off item")
        kind, length = struct.unpack_from(">BxH", content, offset)
        if offset + 4 + length > len(content):
            raise RequestError("an item longer than what holds it")
        yield kind, content[offset + 4 : offset + 4 + length]
        offset += 4 + length


def _uid(value: memoryview) -> str:
    text = bytes(value).decode("latin-1").rstrip("\0 ")
    if not is_uid(text):
        raise RequestError("an invalid identifier")
    return text


def _check_context(value: memoryview, context_ids: set[int]) -> None:
    """One abstract syntax, at least one transfer syntax, an odd number of its own (PS3.8 9.3.2.2)."""
    if len(value) < 4 or value[0] % 2 == 0 or value[0] in context_ids or len(context_ids) >= _MAX_CONTEXTS:
        raise RequestError("an impossible presentation context")
    context_ids.add(value[0])
    kinds = []
    for kind, syntax in _items(value[4:]):
        kinds.append(kind)
        _uid(syntax)
    if kinds.count(_ABSTRACT) != 1 or len(kinds) < 2 or set(kinds) != {_ABSTRACT, _TRANSFER}:
        raise RequestError("an incomplete presentation context")


def _check_user(value: memoryview) -> None:
    for kind, content in _items(value):
        if kind == _MAXIMUM_LENGTH and len(content) != 4:
            raise RequestError("an impossible maximum length")
        if kind == _IMPLEMENTATION_UID:
            _uid(content)
