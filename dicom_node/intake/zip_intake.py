"""Intake of a zip of one study from the web, through the same intake as the network.

The CT images of the zip are stored, all or none of them; other files are counted by kind and left out. Everything is
checked before the first image is stored: each member is inflated, one at a time, for its structure and header, the
images are compared with each other and with the index, and each is inflated again for the intake.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from mmap import mmap

from db.domain.errors import InvalidRecordError
from db.domain.studies import ReceivedInstance, StoreVerdict
from db.studies.patients import is_same_within_study, normalised
from dicom_node.encoding.elements import MemorySource
from dicom_node.encoding.errors import HeaderError, InstanceError, UnsupportedTransferSyntaxError, ZipRefusedError
from dicom_node.encoding.header import InstanceHeader, read_header
from dicom_node.encoding.status import Status
from dicom_node.encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.intake.instance_intake import Announced, Intake, IntakeVerdict, Sender, received_instance
from dicom_node.intake.zip_archive import ZipArchive, ZipLimits, ZipMember, in_pieces
from dicom_node.intake.zip_contents import HEAD_BYTES, LeftOut, OtherKind, joined, kind_of_class, left_out_of, sort_head
from dicom_node.storage.instance_store import StoredFile

WEB = "WEB"
"""In place of a calling AE title."""


@dataclass(frozen=True, slots=True)
class StoredZip:
    """The stored study of a zip, and the files that were left out."""

    study_instance_uid: str
    stored: int
    """CT images that are new."""
    duplicates: int
    """CT images that were stored before with the same content."""
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Image:
    """A CT image of the zip that passed its own checks."""

    member: ZipMember
    announced: Announced
    offset: int
    """Of the dataset in the member."""
    instance: ReceivedInstance


def store_zip(content: bytes | mmap, intake: Intake, *, actor: str, limits: ZipLimits | None = None) -> StoredZip:
    """Store the CT images of a zip.

    Parameters
    ----------
    content
        The zip, in memory or as a mapped file.
    actor
        Who uploads; recorded in place of the peer's address.

    Raises
    ------
    ZipRefusedError
        413 for too much; 422 where it is no zip, holds no CT image, a CT image is damaged or contradicts another one or
        the index, or several studies or patients are mixed; 503 when store or index do not answer. Nothing is stored.
    """
    archive = ZipArchive(content, limits or ZipLimits(), intake.scratch)
    survey = _Survey(archive, intake, Sender(WEB, actor))
    images = survey.checked_images()
    _check_one_study([image.instance for image in images])
    _check_index(images, intake)
    verdicts = Counter(survey.store(image).code for image in images)
    return StoredZip(
        images[0].instance.study_instance_uid,
        stored=verdicts[StoreVerdict.STORED.value],
        duplicates=verdicts[StoreVerdict.DUPLICATE.value],
        left_out=left_out_of(survey.others),
    )


@dataclass(slots=True)
class _Survey:
    """Classifies and checks the members of a zip."""

    archive: ZipArchive
    intake: Intake
    sender: Sender
    images: dict[str, _Image] = field(default_factory=dict)
    """By SOP Instance UID."""
    others: Counter[OtherKind] = field(default_factory=Counter)
    errors: list[InstanceError] = field(default_factory=list)
    """Of files that are, or may be, CT images."""

    def checked_images(self) -> list[_Image]:
        """Return the CT images.

        Raises
        ------
        ZipRefusedError
            There is none, or one cannot be stored.
        """
        for member in self.archive.members:
            try:
                self._sort(member)
            except InstanceError as error:
                self.errors.append(error)
        if self.errors:
            raise ZipRefusedError(
                422,
                self.errors[0].code,
                "{count} of {total} CT images cannot be stored ({reason}). Nothing was stored.",
                count=len(self.errors),
                total=len(self.errors) + len(self.images),
                reason=self.errors[0],
            )
        if not self.images:
            contents = joined(left_out_of(self.others))
            raise ZipRefusedError(422, "no-ct", "No CT image in the zip. It holds {contents}.", contents=contents)
        return list(self.images.values())

    def _sort(self, member: ZipMember) -> None:
        sorted_as = sort_head(self.archive.head(member, HEAD_BYTES))
        if isinstance(sorted_as, OtherKind):
            self.others[sorted_as] += 1
            return
        meta, offset = sorted_as
        announced = Announced(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid)
        kind = kind_of_class(meta.sop_class_uid) if meta.sop_class_uid else None
        if kind is not None:
            self.others[kind] += 1
            return
        dataset = memoryview(self.archive.content(member))[offset:]
        if meta.sop_class_uid:
            self._add(member, announced, offset, self._dataset_header(dataset, announced), dataset)
        else:
            self._sort_bare(member, announced, dataset)

    def _sort_bare(self, member: ZipMember, announced: Announced, dataset: memoryview) -> None:
        """Classify a dataset without file meta information."""
        try:
            header = self._dataset_header(dataset, announced)
        except HeaderError:
            self.others[OtherKind.NOT_DICOM] += 1
            return
        kind = kind_of_class(header.sop_class_uid)
        if kind is not None:
            self.others[kind] += 1
            return
        announced = Announced(header.sop_class_uid, header.sop_instance_uid, announced.transfer_syntax_uid)
        self._add(member, announced, 0, header, dataset)

    def _dataset_header(self, dataset: memoryview, announced: Announced) -> InstanceHeader:
        encoding = TRANSFER_SYNTAXES.get(announced.transfer_syntax_uid)
        if encoding is None:
            raise UnsupportedTransferSyntaxError
        return read_header(MemorySource(dataset), encoding, self.intake.limits.walk)

    def _add(
        self, member: ZipMember, announced: Announced, offset: int, header: InstanceHeader, dataset: memoryview
    ) -> None:
        self.intake.check(announced)
        self.intake.check_header(header, announced)
        stored = StoredFile("", len(dataset), _sha256(dataset))
        image = _Image(member, announced, offset, received_instance(header, announced, self.sender, stored))
        first = self.images.setdefault(header.sop_instance_uid, image)
        if first is not image:
            if first.instance.sha256 != stored.sha256:
                raise ZipRefusedError(
                    422,
                    "conflict",
                    "Two images in the zip have the same SOP Instance UID and differ. Nothing was stored.",
                )
            self.others[OtherKind.DUPLICATE] += 1

    def store(self, image: _Image) -> IntakeVerdict:
        """Store one image.

        Raises
        ------
        ZipRefusedError
            Store or index changed since they were asked.
        """
        dataset = memoryview(self.archive.content(image.member))[image.offset :]
        reception = self.intake.begin(image.announced, self.sender)
        for piece in in_pieces(dataset):
            reception.write(piece)
        verdict = reception.finish()
        if not verdict.is_stored:
            raise _refusal(verdict.status, verdict.code, verdict.text)
        return verdict


def _sha256(dataset: memoryview) -> str:
    digest = hashlib.sha256()
    for piece in in_pieces(dataset):
        digest.update(piece)
    return digest.hexdigest()


def _refusal(status: Status, code: str, text: str) -> ZipRefusedError:
    return ZipRefusedError(503 if status is Status.OUT_OF_RESOURCES else 422, code, text)


def _check_one_study(instances: Sequence[ReceivedInstance]) -> None:
    studies = {instance.study_instance_uid for instance in instances}
    if len(studies) > 1:
        raise ZipRefusedError(
            422,
            "several-studies",
            "The zip holds {count} studies. Upload each in a zip of its own. Nothing was stored.",
            count=len(studies),
        )
    try:
        first, *others = (normalised(instance.patient) for instance in instances)
    except InvalidRecordError as error:
        raise _refusal(Status.CANNOT_UNDERSTAND, "invalid-attribute", str(error)) from None
    if not all(is_same_within_study(first, other) for other in others):
        raise ZipRefusedError(
            422, "several-patients", "The images of this study name different patients. Nothing was stored."
        )


def _check_index(images: Sequence[_Image], intake: Intake) -> None:
    """Refuse what exceeds the free space or what the index would refuse."""
    try:
        intake.check_free(sum(image.instance.size_bytes for image in images))
        verdicts = Counter(intake.expected_verdicts([image.instance for image in images]))
    except InstanceError as error:
        raise _refusal(error.status, error.code, str(error)) from None
    if verdicts[StoreVerdict.PATIENT_CONFLICT]:
        raise ZipRefusedError(
            422, "patient-conflict", "This study is already stored for another patient. Nothing was stored."
        )
    if verdicts[StoreVerdict.STUDY_CONFLICT]:
        raise ZipRefusedError(
            422, "study-conflict", "A series of this study is already stored in another study. Nothing was stored."
        )
    if count := verdicts[StoreVerdict.CONFLICT]:
        raise ZipRefusedError(
            422,
            "conflict",
            "{count} of {total} CT images are already stored with other content. Nothing was stored.",
            count=count,
            total=len(images),
        )
