"""File meta information (PS3.10 7.1): encoded for stored files, parsed as untrusted from uploads."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from db.domain.uids import is_uid
from dicom_node.encoding.errors import (
    InvalidAttributeError,
    MalformedElementError,
    MissingAttributeError,
    NotDicomError,
    TruncatedDatasetError,
)

IMPLEMENTATION_CLASS_UID = "2.25.18854031096232292418299380667706978813"
"""UUID-derived (PS3.5 B.2), drawn once for this project."""
IMPLEMENTATION_VERSION_NAME = "LUNGNODE"
PREFIX = bytes(128) + b"DICM"
_LONG_VRS = (b"OB", b"OW", b"UN", b"SQ", b"UT", b"UC", b"UR")
_META_BYTES = 65536
_ELEMENT = struct.Struct("<HH2sH")
_FIRST_ELEMENTS, _FIRST_BYTES = 0x0018, 256
"""A dataset without file meta information begins with one of group length to SOP Instance UID, which are short."""
_FIRST_VRS = (b"UL", b"CS", b"UI", b"DA", b"TM", b"SH", b"DT")


@dataclass(frozen=True, slots=True)
class FileMeta:
    """File meta information of an instance."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str = ""


def encode_file_meta(meta: FileMeta) -> bytes:
    """Encode preamble, prefix and group 2, to be followed by the dataset."""
    group = b"".join(
        (
            struct.pack("<HH2sHL2s", 2, 0x0001, b"OB", 0, 2, b"\0\1"),
            _uid(0x0002, meta.sop_class_uid),
            _uid(0x0003, meta.sop_instance_uid),
            _uid(0x0010, meta.transfer_syntax_uid),
            _uid(0x0012, IMPLEMENTATION_CLASS_UID),
            _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _text(0x0016, b"AE", meta.source_ae_title) if meta.source_ae_title else b"",
        )
    )
    return PREFIX + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(group)) + group


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += bytes(len(value) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value


def _text(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", errors="replace")[:16]
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def read_file_meta(content: bytes | memoryview) -> tuple[FileMeta, int]:
    """Read the file meta information of a PS3.10 file.

    Returns
    -------
    tuple of FileMeta and int
        And the offset at which the dataset begins.

    Raises
    ------
    HeaderError
        Not a PS3.10 file, or its meta information is malformed, too long, or lacks a UID.
    """
    content = memoryview(content)
    if bytes(content[128:132]) != b"DICM":
        raise MalformedElementError("no DICM prefix", 128)
    return _group_2(content, len(PREFIX))


def read_media_meta(content: bytes | memoryview) -> tuple[FileMeta, int]:
    """Read the file meta information of a media file, which may lack the preamble or all of group 2.

    Returns
    -------
    tuple of FileMeta and int
        And the offset of the dataset. Without group 2 the SOP class and instance are empty, and the transfer syntax is
        the little endian one that the first element is encoded in.

    Raises
    ------
    NotDicomError
        The file does not begin as a DICOM file or dataset does.
    HeaderError
        As ``read_file_meta``.
    """
    content = memoryview(content)
    if bytes(content[128:132]) == b"DICM":
        return _group_2(content, len(PREFIX))
    group, element, vr, _ = _ELEMENT.unpack_from(content) if len(content) >= _ELEMENT.size else (0, 0, b"", 0)
    if group == 2 and element in (0, 1, 2) and vr in (b"UL", b"OB", b"UI"):
        return _group_2(content, 0)
    if group == 8 and element <= _FIRST_ELEMENTS:
        if vr in _FIRST_VRS:
            return FileMeta("", "", ExplicitVRLittleEndian), 0
        if struct.unpack_from("<L", content, 4)[0] <= _FIRST_BYTES:
            return FileMeta("", "", ImplicitVRLittleEndian), 0
    raise NotDicomError


def _group_2(content: memoryview, start: int) -> tuple[FileMeta, int]:
    values: dict[int, bytes] = {}
    offset = start
    while offset < min(len(content), _META_BYTES):
        if bytes(content[offset : offset + 2]) != b"\2\0":
            return _file_meta(values), offset
        element, first, length = _element(content, offset)
        if first + length > len(content):
            raise TruncatedDatasetError(offset)
        values.setdefault(element, bytes(content[first : first + min(length, 256)]))
        offset = first + length
    raise TruncatedDatasetError(offset)


def _element(content: memoryview, offset: int) -> tuple[int, int, int]:
    """Return element number, start and length of the value at ``offset``."""
    head = bytes(content[offset : offset + 12])
    if len(head) < 12:
        raise TruncatedDatasetError(offset)
    _, element, vr, length = struct.unpack_from("<HH2sH", head)
    if vr in _LONG_VRS:
        return element, offset + 12, struct.unpack_from("<L", head, 8)[0]
    if not (vr.isalpha() and vr.isupper()):
        raise MalformedElementError("no value representation", offset)
    return element, offset + 8, length


def _file_meta(values: dict[int, bytes]) -> FileMeta:
    def uid(element: int, keyword: str) -> str:
        text = values.get(element, b"").decode("latin-1").strip("\0 ")
        if not text:
            raise MissingAttributeError(keyword)
        if not is_uid(text):
            raise InvalidAttributeError(keyword, "is not a UID")
        return text

    return FileMeta(
        uid(0x0002, "MediaStorageSOPClassUID"),
        uid(0x0003, "MediaStorageSOPInstanceUID"),
        uid(0x0010, "TransferSyntaxUID"),
        values.get(0x0016, b"").decode("ascii", errors="replace").strip("\0 "),
    )
