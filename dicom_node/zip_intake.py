"""A zip of one study from the web: bounded, never unpacked to names of its own, through the same intake as the network.

Nothing is stored before every member was checked: one at a time is inflated, first for its structure, header and study,
then again for the intake.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.elements import MemorySource
from dicom_node.errors import InstanceError, ZipRefusedError
from dicom_node.header import InstanceHeader, read_header
from dicom_node.intake import Announced, Intake, IntakeVerdict, Sender
from dicom_node.part10 import read_file_meta
from dicom_node.status import Status
from dicom_node.transfer import TRANSFER_SYNTAXES

WEB = "WEB"
"""Stands where the calling AE title of a push stands."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_IGNORED_NAMES = ("DICOMDIR", ".DS_Store", "Thumbs.db")
_ENCRYPTED = 0x1
_ENTRY = b"PK\1\2"
_CHANCE_MATCHES = 100
"""The four bytes may occur in deflated data too, once in 4 GiB."""


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """Bounds of one upload."""

    members: int = 10_000
    member_bytes: int = 1 << 30
    total_bytes: int = 4 << 30
    ratio: float = 200.0
    """Inflated to deflated size of the whole; CT deflates to a third, an all-black phantom to a hundredth."""
    ratio_free_bytes: int = 64 << 20
    """Below this size the ratio is nobody's harm."""


@dataclass(frozen=True, slots=True)
class StoredZip:
    """What became of a zip."""

    study_instance_uid: str
    stored: int
    duplicates: int


def store_zip(content: bytes, intake: Intake, *, actor: str, limits: ZipLimits | None = None) -> StoredZip:
    """Store every instance of a zip.

    Parameters
    ----------
    content
        The zip. Its members' names are never used as paths.
    actor
        Who uploads; stands in the index as the calling AE title's place, and in the audit trail.

    Raises
    ------
    ZipRefusedError
        413 for too much; 422 where it is no zip, a member is no instance that this node takes, or several studies are
        mixed (then nothing is stored); 503 when the store or the index cannot take it now (sending again is right).
    """
    limits = limits or ZipLimits()
    sender = Sender(WEB, actor)
    with _opened(content, limits) as archive:
        members = _members(archive, limits)
        study = _only_study(archive, members, intake)
        verdicts = [_store(raw, intake, sender) for raw in _contents(archive, members)]
    return StoredZip(
        study,
        stored=sum(verdict.code == "stored" for verdict in verdicts),
        duplicates=sum(verdict.code == "duplicate" for verdict in verdicts),
    )


def _opened(content: bytes, limits: ZipLimits) -> zipfile.ZipFile:
    """Open the directory, which the library reads whole into memory: so its entries are counted first."""
    if content.count(_ENTRY) > limits.members + _CHANCE_MATCHES:
        raise _too_many(limits)
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError):
        raise ZipRefusedError(422, "not-a-zip", "this is not a readable zip") from None


def _members(archive: zipfile.ZipFile, limits: ZipLimits) -> list[zipfile.ZipInfo]:
    """Choose the members that count, after looking at what the directory declares."""
    every = archive.infolist()
    if len(every) > limits.members:
        raise _too_many(limits)
    members = [member for member in every if not member.is_dir() and not _is_ignored(member.filename)]
    if not members:
        raise ZipRefusedError(422, "empty-zip", "the zip holds no instance")
    for member in members:
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
            raise ZipRefusedError(422, "zip-method", "a member is encrypted, or compressed by an unusual method")
        if member.file_size > limits.member_bytes:
            raise ZipRefusedError(413, "member-too-large", f"a member may have {limits.member_bytes >> 20} MiB")
    inflated = sum(member.file_size for member in members)
    deflated = sum(member.compress_size for member in members)
    if inflated > limits.total_bytes:
        raise ZipRefusedError(413, "zip-too-large", f"a zip may inflate to {limits.total_bytes >> 20} MiB")
    if inflated > limits.ratio_free_bytes and inflated > limits.ratio * max(1, deflated):
        raise ZipRefusedError(413, "zip-ratio", "the zip inflates out of all proportion")
    return members


def _too_many(limits: ZipLimits) -> ZipRefusedError:
    return ZipRefusedError(413, "too-many-members", f"a zip may have {limits.members} members")


def _is_ignored(name: str) -> bool:
    """Tell whether a member is what burners and file managers add; everything else has to be an instance."""
    return name.startswith("__MACOSX/") or name.replace("\\", "/").rsplit("/", maxsplit=1)[-1] in _IGNORED_NAMES


def _contents(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> Iterator[bytes]:
    """Inflate one member at a time, never further than its declared size."""
    for member in members:
        try:
            with archive.open(member) as file:
                raw = file.read(member.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError):
            raise ZipRefusedError(422, "damaged-zip", "a member of the zip is damaged") from None
        if len(raw) != member.file_size:
            raise ZipRefusedError(422, "damaged-zip", "a member of the zip is not as long as it says")
        yield raw


def _only_study(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], intake: Intake) -> str:
    """Check every member before anything is stored; tell the study that all belong to."""
    study = ""
    for number, raw in enumerate(_contents(archive, members), start=1):
        try:
            header = _checked(raw, intake)
        except InstanceError as error:
            raise ZipRefusedError(422, error.code, f"member {number} of the zip: {error}") from None
        if study not in ("", header.study_instance_uid):
            raise ZipRefusedError(422, "several-studies", "the zip holds several studies; upload them one by one")
        study = header.study_instance_uid
    return study


def _checked(raw: bytes, intake: Intake) -> InstanceHeader:
    announced, offset = _announced(raw)
    intake.check(announced)
    encoding = TRANSFER_SYNTAXES[announced.transfer_syntax_uid]
    header = read_header(MemorySource(memoryview(raw)[offset:]), encoding, intake.limits.walk)
    intake.check_header(header, announced)
    return header


def _announced(raw: bytes) -> tuple[Announced, int]:
    meta, offset = read_file_meta(raw)
    return Announced(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid), offset


def _store(raw: bytes, intake: Intake, sender: Sender) -> IntakeVerdict:
    announced, offset = _announced(raw)
    verdict = intake.receive(announced, memoryview(raw)[offset:], sender)
    if verdict.is_stored:
        return verdict
    if verdict.status is Status.OUT_OF_RESOURCES:
        raise ZipRefusedError(503, verdict.code, verdict.text)
    raise ZipRefusedError(422, verdict.code, verdict.text)
