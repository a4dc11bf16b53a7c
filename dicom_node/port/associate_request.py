"""Parser of A-ASSOCIATE-RQ PDUs (PS3.8 9.3.2), which also rewrites them in a form that the library can read.

Other nodes send what the standard allows and pynetdicom aborts on: unrecognized items and sub-items, which are ignored
(PS3.8 9.3.1), padded names and UIDs, items in any order. A presentation context that cannot be read is rejected alone.
The new request has only what negotiation needs here: optional negotiation that this node does not support (PS3.7 D.3.3)
is left out, credentials among it, which is answered as a node answers that does not know it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pydicom.uid import ImplicitVRLittleEndian

from db.domain.uids import is_uid
from dicom_node.encoding.transfer_syntaxes import TRANSFER_SYNTAXES

DEFAULT_MAX_PDU_BYTES = 16384
MAX_ITEMS = 20_000
"""128 contexts of all transfer syntaxes that there are have under 8000."""
_FIXED_BYTES = 74
"""PDU header, protocol version, AE titles and reserved bytes."""
_APPLICATION, _PRESENTATION, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _IMPLEMENTATION_UID, _ROLE, _IMPLEMENTATION_NAME = 0x51, 0x52, 0x54, 0x55
_RESULT = 0x21
_NO_REASON = 2
"""Result of a context: rejected by the provider (PS3.8 9.3.3.2)."""
_UNSUPPORTED = "2.25.0"
"""Stands where a UID cannot be read: nothing supports it, so that the context is rejected with result 3 or 4."""
_PADDING = "\0 "


class RequestError(ValueError):
    """A malformed request; the connection is aborted. ``code`` is machine-readable."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """Contents of a request that decide on its admission. AE titles are without padding.

    Attributes
    ----------
    pdu
        The request, written anew.
    more_results
        Presentation context items (PS3.8 9.3.3.2) that the answer has besides those of ``pdu``.
    """

    is_version_1: bool
    application_context: str
    called_ae_title: str
    calling_ae_title: str
    pdu: bytes
    more_results: bytes = b""


@dataclass(frozen=True, slots=True)
class _Context:
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


def read_titles(received: bytes) -> tuple[str, str]:
    """Return calling and called AE title of a possibly incomplete request; empty where not received."""
    if len(received) < _FIXED_BYTES:
        return "", ""
    return _title(received[26:42]), _title(received[10:26])


def read_request(pdu: bytes) -> AssociationRequest:
    """Parse a complete A-ASSOCIATE-RQ PDU.

    Raises
    ------
    RequestError
        Its lengths contradict each other, or it has no presentation context.
    """
    end = 6 + struct.unpack_from(">L", pdu, 2)[0]
    if end > len(pdu) or end < _FIXED_BYTES:
        raise RequestError("request-truncated")
    reader = _Reader()
    for kind, value in reader.items(memoryview(pdu)[_FIXED_BYTES:end]):
        reader.take(kind, value)
    if not reader.contexts and not reader.unusable_ids:
        raise RequestError("request-without-contexts")
    calling, called = read_titles(pdu)
    version = struct.unpack_from(">H", pdu, 6)[0]
    is_version_1 = bool(version & 1)
    return AssociationRequest(
        is_version_1,
        reader.application_context,
        called,
        calling,
        reader.written(called, calling),
        reader.more_results(),
    )


def add_results(answer: bytes, results: bytes) -> bytes:
    """Add presentation context items to an A-ASSOCIATE-AC, in front of its user information (PS3.8 9.3.3)."""
    offset = _FIXED_BYTES
    while offset + 4 <= len(answer) and answer[offset] != _USER:
        offset += 4 + int(struct.unpack_from(">H", answer, offset + 2)[0])
    content = answer[6:offset] + results + answer[offset:]
    return answer[:2] + struct.pack(">L", len(content)) + content


class _Reader:
    """Collects the items of one request; unrecognized ones are skipped."""

    def __init__(self) -> None:
        self.application_context = ""
        self.contexts: dict[int, _Context] = {}
        self.unusable_ids: set[int] = set()
        self._roles: dict[str, bytes] = {}
        self._max_pdu_bytes = DEFAULT_MAX_PDU_BYTES
        self._implementation_uid, self._implementation_name = "", ""
        self._count = 0

    def items(self, content: memoryview) -> Iterator[tuple[int, memoryview]]:
        offset = 0
        while offset < len(content):
            self._count += 1
            if self._count > MAX_ITEMS:
                raise RequestError("request-too-many-items")
            if offset + 4 > len(content):
                raise RequestError("request-item-length")
            kind, length = struct.unpack_from(">BxH", content, offset)
            if offset + 4 + length > len(content):
                raise RequestError("request-item-length")
            yield kind, content[offset + 4 : offset + 4 + length]
            offset += 4 + length

    def take(self, kind: int, value: memoryview) -> None:
        if kind == _APPLICATION:
            self.application_context = self.application_context or _text(bytes(value))
        elif kind == _PRESENTATION:
            self._take_context(value)
        elif kind == _USER:
            for user_kind, content in self.items(value):
                self._take_user(user_kind, bytes(content))

    def _take_context(self, value: memoryview) -> None:
        """Add a presentation context; its id must be odd and occur once (PS3.8 9.3.2.2)."""
        if len(value) < 4:
            return  # without a number it cannot be answered
        number = value[0]
        if number % 2 == 0:
            self.unusable_ids.add(number)
            return
        proposed = self._context(value[4:])
        first = self.contexts.setdefault(number, proposed)
        if first != proposed:
            self.contexts[number] = _Context(_UNSUPPORTED, (_UNSUPPORTED,))

    def _context(self, content: memoryview) -> _Context:
        syntaxes: dict[int, dict[str, None]] = {_ABSTRACT: {}, _TRANSFER: {}}
        try:
            for kind, value in self.items(content):
                if kind in syntaxes:
                    syntaxes[kind][_uid(bytes(value))] = None
        except RequestError as error:
            if error.code != "request-item-length":
                raise
            return _Context(_UNSUPPORTED, (_UNSUPPORTED,))
        abstract, transfer = list(syntaxes[_ABSTRACT]), [uid for uid in syntaxes[_TRANSFER] if uid]
        usable = tuple(uid for uid in transfer if uid in TRANSFER_SYNTAXES) or (*transfer[:1], _UNSUPPORTED)[:1]
        return _Context((abstract[0] if len(abstract) == 1 else "") or _UNSUPPORTED, usable)

    def _take_user(self, kind: int, content: bytes) -> None:
        if kind == _MAXIMUM_LENGTH:
            if len(content) != 4:
                raise RequestError("request-maximum-length")
            self._max_pdu_bytes = int.from_bytes(content, "big")
        elif kind == _IMPLEMENTATION_UID:
            self._implementation_uid = _uid(content)
        elif kind == _IMPLEMENTATION_NAME:
            self._implementation_name = _text(content)[:16]
        elif kind == _ROLE and len(content) >= 4:
            length = int.from_bytes(content[:2], "big")
            roles = content[2 + length : 4 + length]
            if len(roles) == 2 and set(roles) <= {0, 1} and (uid := _uid(content[2 : 2 + length])):
                self._roles.setdefault(uid, roles)

    def more_results(self) -> bytes:
        """Return the results of contexts with invalid ids."""
        syntax = _item(_TRANSFER, ImplicitVRLittleEndian.encode())
        return b"".join(
            _item(_RESULT, bytes([number, 0, _NO_REASON, 0]) + syntax) for number in sorted(self.unusable_ids)
        )

    def written(self, called: str, calling: str) -> bytes:
        """Return the rewritten request."""
        items = [_item(_APPLICATION, self.application_context.encode("latin-1"))]
        for number, context in sorted(self.contexts.items()):
            syntaxes = [_item(_ABSTRACT, context.abstract_syntax.encode())]
            syntaxes += [_item(_TRANSFER, uid.encode()) for uid in context.transfer_syntaxes]
            items.append(_item(_PRESENTATION, bytes([number, 0, 0, 0]) + b"".join(syntaxes)))
        items.append(_item(_USER, b"".join(self._user_items())))
        titles = b"".join(title.encode("latin-1").ljust(16)[:16] for title in (called, calling))
        content = struct.pack(">HH", 1, 0) + titles + bytes(32) + b"".join(items)
        return struct.pack(">BBL", 1, 0, len(content)) + content

    def _user_items(self) -> Iterator[bytes]:
        yield _item(_MAXIMUM_LENGTH, struct.pack(">L", self._max_pdu_bytes))
        if self._implementation_uid:
            yield _item(_IMPLEMENTATION_UID, self._implementation_uid.encode())
        proposed = {context.abstract_syntax for context in self.contexts.values()}
        for uid, roles in self._roles.items():
            if uid in proposed:
                yield _item(_ROLE, struct.pack(">H", len(uid)) + uid.encode() + roles)
        if self._implementation_name:
            yield _item(_IMPLEMENTATION_NAME, self._implementation_name.encode("latin-1"))


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _title(raw: bytes) -> str:
    return raw.decode("latin-1").strip(_PADDING)


def _text(raw: bytes) -> str:
    """Return printable ASCII text without padding; empty for anything else."""
    text = raw.decode("latin-1").strip(_PADDING)
    return text if text.isascii() and text.isprintable() else ""


@lru_cache(maxsize=2048)
def _known_uid(raw: bytes) -> str:
    text = raw.decode("latin-1").strip(_PADDING)
    return text if is_uid(text) else ""


def _uid(raw: bytes) -> str:
    """Return a UID without padding; empty where it is invalid."""
    return _known_uid(raw) if len(raw) <= 80 else ""
