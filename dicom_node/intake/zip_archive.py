"""Bounded reader of zip archives in memory or in a mapped file: the central directory, then single members.

A large member is inflated in pieces to a temporary file that is mapped, so that it takes disk and not memory.
Only offsets, sizes and checksums are read; the names of members are not decoded, so none of them can mislead or fail.
Layout: PKWARE APPNOTE 6.3.10, 4.3 and 4.5.3.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dicom_node.encoding.errors import ZipRefusedError

_END = struct.Struct("<4s4H2LH")
_END_ZIP64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_ZIP64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_IN_ZIP64 = 0xFFFFFFFF
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8
_COMMENT_BYTES = 65535
IN_MEMORY_BYTES = 8 << 20
"""Largest member that is inflated in memory; a CT slice has half a MiB."""
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """Limits of one upload."""

    members: int = 10_000
    member_bytes: int = 1 << 30
    total_bytes: int = 4 << 30
    ratio: float = 200.0
    """Inflated to deflated size of all members; CT deflates to a third, an all-black phantom to a hundredth."""
    ratio_free_bytes: int = 64 << 20
    """Inflated size below which the ratio is not judged."""


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file entry of the central directory."""

    offset: int
    """Of its local header."""
    packed_bytes: int
    size_bytes: int
    crc32: int
    method: int
    is_encrypted: bool


@dataclass(frozen=True, slots=True)
class _Directory:
    entries: int
    start: int
    end: int
    prefix_bytes: int
    """Bytes in front of the archive (a self-extracting stub), which its offsets do not count."""


class ZipArchive:
    """A zip archive whose directory is within the limits.

    Parameters
    ----------
    content
        The zip, in memory or as a mapped file.
    scratch
        Folder for large members while they are read; None means the system's temporary folder.

    Raises
    ------
    ZipRefusedError
        413 for more than the limits allow; 422 where it is no zip or a member is encrypted or oddly compressed.
    """

    def __init__(self, content: bytes | mmap.mmap, limits: ZipLimits, scratch: Path | None = None) -> None:
        self._content = memoryview(content)
        self._scratch = scratch
        directory = _directory(content)
        if directory.entries > limits.members:
            raise ZipRefusedError(
                413, "too-many-members", "A zip may hold {count} files at most.", count=limits.members
            )
        self._prefix = directory.prefix_bytes
        self.members = tuple(_members(self._content, directory))
        _check(self.members, len(content), limits)

    def head(self, member: ZipMember, size: int) -> bytes:
        """Return up to ``size`` bytes from the start of a member; a shorter one is checked as in ``content``.

        Raises
        ------
        ZipRefusedError
        """
        return self._inflated(member, size)[0] if member.size_bytes > size else bytes(self.content(member))

    def content(self, member: ZipMember) -> bytes | memoryview:
        """Return a member, at most its declared size, checked against its CRC-32.

        Raises
        ------
        ZipRefusedError
        """
        if member.size_bytes > IN_MEMORY_BYTES:
            return self._mapped(member)
        raw, is_complete = self._inflated(member, member.size_bytes + 1)
        if not is_complete or len(raw) != member.size_bytes or zlib.crc32(raw) != member.crc32:
            raise damaged()
        return raw

    def _mapped(self, member: ZipMember) -> memoryview:
        """Inflate a member to an unnamed file, which is removed with the last view of it."""
        size, crc32 = 0, 0
        with tempfile.TemporaryFile(dir=self._scratch) as file:
            for piece in self._pieces(member):
                size, crc32 = size + len(piece), zlib.crc32(piece, crc32)
                if size > member.size_bytes:
                    break
                file.write(piece)
            if size != member.size_bytes or crc32 != member.crc32:
                raise damaged()
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def _pieces(self, member: ZipMember) -> Iterator[bytes]:
        packed = self._packed(member)
        if member.method == _STORED:
            for at in range(0, len(packed), _PIECE_BYTES):
                yield bytes(packed[at : at + _PIECE_BYTES])
            return
        inflater, at, pending = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
        try:
            while not inflater.eof:
                if not pending:
                    pending, at = bytes(packed[at : at + _PIECE_BYTES]), at + _PIECE_BYTES
                is_last = not pending
                piece = inflater.decompress(pending, _PIECE_BYTES)
                if is_last and not piece:
                    raise damaged()
                pending = inflater.unconsumed_tail
                yield piece
        except zlib.error:
            raise damaged() from None

    def _inflated(self, member: ZipMember, limit: int) -> tuple[bytes, bool]:
        packed = self._packed(member)
        if member.method == _STORED:
            return bytes(packed[:limit]), len(packed) == member.packed_bytes
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            raw = inflater.decompress(packed, limit)
        except zlib.error:
            raise damaged() from None
        return raw, inflater.eof

    def _packed(self, member: ZipMember) -> memoryview:
        at = member.offset + self._prefix
        try:
            mark, *_, name_bytes, extra_bytes = _LOCAL.unpack_from(self._content, at)
        except struct.error:
            raise damaged() from None
        start = at + _LOCAL.size + name_bytes + extra_bytes
        if mark != b"PK\3\4" or start + member.packed_bytes > len(self._content):
            raise damaged()
        return self._content[start : start + member.packed_bytes]


def in_pieces(content: memoryview) -> Iterator[memoryview]:
    """Yield consecutive parts of a member, releasing the pages of a mapped one after each."""
    for at in range(0, len(content), IN_MEMORY_BYTES):
        yield content[at : at + IN_MEMORY_BYTES]
        if isinstance(content.obj, mmap.mmap):
            content.obj.madvise(mmap.MADV_DONTNEED)


def damaged() -> ZipRefusedError:
    """Return the refusal of a zip with a member that cannot be inflated."""
    return ZipRefusedError(422, "damaged-zip", "A file in the zip is damaged.")


def _unreadable() -> ZipRefusedError:
    return ZipRefusedError(422, "not-a-zip", "The zip cannot be read.")


def _directory(content: bytes | mmap.mmap) -> _Directory:
    """Find the central directory by the end record, which only a comment may follow (4.3.16)."""
    lowest = max(0, len(content) - _END.size - _COMMENT_BYTES)
    at = content.rfind(b"PK\5\6", lowest)
    while at >= 0 and at + _END.size > len(content):
        at = content.rfind(b"PK\5\6", lowest, at)
    if at < 0:
        raise _unreadable()
    _, _, _, _, entries, size, offset, _ = _END.unpack_from(content, at)
    end = at
    locator = at - _LOCATOR_ZIP64.size
    if locator >= _END_ZIP64.size and content[locator : locator + 4] == b"PK\6\7":
        end = locator - _END_ZIP64.size
        mark, *_, entries, size, offset = _END_ZIP64.unpack_from(content, end)
        if mark != b"PK\6\6":
            raise _unreadable()
    start = end - size
    if start < offset or start < 0:
        raise _unreadable()
    return _Directory(entries, start, end, start - offset)


def _members(content: memoryview, directory: _Directory) -> Iterator[ZipMember]:
    at = directory.start
    for _ in range(directory.entries):
        if at + _ENTRY.size > directory.end:
            raise _unreadable()
        entry = _ENTRY.unpack_from(content, at)
        mark, _, _, flags, method, _, _, crc32, packed, size, name_bytes, extra_bytes, comment_bytes, *_, offset = entry
        name_end = at + _ENTRY.size + name_bytes
        if mark != b"PK\1\2":
            raise _unreadable()
        size, packed, offset = _zip64(bytes(content[name_end : name_end + extra_bytes]), size, packed, offset)
        last = bytes(content[name_end - 1 : name_end]) if name_bytes else b""
        if not (last == b"/" or (last == b"\\" and not size)):
            yield ZipMember(offset, packed, size, crc32, method, bool(flags & _ENCRYPTED))
        at = name_end + extra_bytes + comment_bytes


def _zip64(extra: bytes, *values: int) -> tuple[int, ...]:
    """Read size, packed size and offset that do not fit 32 bits from the extra field 0x0001 (4.5.3)."""
    if _IN_ZIP64 not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            return tuple(next(wide, value) if value == _IN_ZIP64 else value for value in values)
        at += 4 + length
    return values


def _check(members: tuple[ZipMember, ...], zip_bytes: int, limits: ZipLimits) -> None:
    if not members:
        raise ZipRefusedError(422, "empty-zip", "The zip holds no file.")
    if any(member.is_encrypted for member in members):
        raise ZipRefusedError(422, "encrypted-zip", "The zip is encrypted. Upload it without a password.")
    if any(member.method not in (_STORED, _DEFLATED) for member in members):
        raise ZipRefusedError(422, "zip-method", "The zip uses an unsupported compression. Use Deflate or Store.")
    if max(member.size_bytes for member in members) > limits.member_bytes:
        mib = limits.member_bytes >> 20
        raise ZipRefusedError(413, "member-too-large", "A file in a zip may have {mib} MiB at most.", mib=mib)
    unpacked, packed = sum(member.size_bytes for member in members), sum(member.packed_bytes for member in members)
    if unpacked > limits.total_bytes:
        mib = limits.total_bytes >> 20
        raise ZipRefusedError(413, "zip-too-large", "A zip may unpack to {mib} MiB at most.", mib=mib)
    if packed > zip_bytes:
        raise _unreadable()  # members that share bytes: a bomb, or damage
    if unpacked > limits.ratio_free_bytes and unpacked > limits.ratio * max(1, packed):
        raise ZipRefusedError(413, "zip-ratio", "The zip unpacks to far more than its size.")
