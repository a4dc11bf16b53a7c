"""Classification of the files of a zip: CT images, and other files counted by kind.

A burned CD or a PACS export holds more than the images: a DICOMDIR, reports, a viewer, what file managers leave behind.
Files are judged by content. Their names may hold a patient's identity and are neither read nor shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydicom.uid import CTImageStorage, MediaStorageDirectoryStorage

from dicom_node.encoding.errors import NotDicomError
from dicom_node.encoding.part10 import FileMeta, read_media_meta
from dicom_node.encoding.transfer_syntaxes import STORAGE_CLASSES

HEAD_BYTES = 1 << 17
"""Bytes read of a file to determine its kind; file meta information ends within half of it."""


class OtherKind(StrEnum):
    """Kind of a file that is not a CT image."""

    STRUCTURED_REPORT = "structured_report"
    KEY_OBJECT_SELECTION = "key_object_selection"
    PRESENTATION_STATE = "presentation_state"
    SEGMENTATION = "segmentation"
    SECONDARY_CAPTURE = "secondary_capture"
    ENCAPSULATED_DOCUMENT = "encapsulated_document"
    OTHER_IMAGE = "other_image"
    OTHER_OBJECT = "other_object"
    DICOMDIR = "dicomdir"
    DUPLICATE = "duplicate"
    ARCHIVE = "archive"
    EMPTY = "empty"
    NOT_DICOM = "not_dicom"


def english(text: str) -> str:
    """Mark a text that is sent in English and translated where it is displayed."""
    return text


_TEXTS: Final[dict[OtherKind, tuple[str, str]]] = {
    OtherKind.STRUCTURED_REPORT: (english("1 structured report"), english("{count} structured reports")),
    OtherKind.KEY_OBJECT_SELECTION: (english("1 key object selection"), english("{count} key object selections")),
    OtherKind.PRESENTATION_STATE: (english("1 presentation state"), english("{count} presentation states")),
    OtherKind.SEGMENTATION: (english("1 segmentation"), english("{count} segmentations")),
    OtherKind.SECONDARY_CAPTURE: (english("1 secondary capture"), english("{count} secondary captures")),
    OtherKind.ENCAPSULATED_DOCUMENT: (english("1 encapsulated document"), english("{count} encapsulated documents")),
    OtherKind.OTHER_IMAGE: (english("1 image of another modality"), english("{count} images of other modalities")),
    OtherKind.OTHER_OBJECT: (english("1 other DICOM object"), english("{count} other DICOM objects")),
    OtherKind.DICOMDIR: (english("1 DICOMDIR"), english("{count} DICOMDIRs")),
    OtherKind.DUPLICATE: (english("1 duplicate image"), english("{count} duplicate images")),
    OtherKind.ARCHIVE: (english("1 nested archive"), english("{count} nested archives")),
    OtherKind.EMPTY: (english("1 empty file"), english("{count} empty files")),
    OtherKind.NOT_DICOM: (english("1 file that is not DICOM"), english("{count} files that are not DICOM")),
}
_STORAGE = CTImageStorage.rpartition(".")[0] + "."
_BY_CLASS: Final[tuple[tuple[str, OtherKind], ...]] = (
    (MediaStorageDirectoryStorage, OtherKind.DICOMDIR),
    (_STORAGE + "88.59", OtherKind.KEY_OBJECT_SELECTION),
    (_STORAGE + "88", OtherKind.STRUCTURED_REPORT),
    (_STORAGE + "11", OtherKind.PRESENTATION_STATE),
    (_STORAGE + "66.4", OtherKind.SEGMENTATION),
    (_STORAGE + "66.7", OtherKind.SEGMENTATION),
    (_STORAGE + "7", OtherKind.SECONDARY_CAPTURE),
    (_STORAGE + "104", OtherKind.ENCAPSULATED_DOCUMENT),
    *(
        (_STORAGE + number, OtherKind.OTHER_IMAGE)
        for number in ("1", "3", "4", "6", "12", "13", "14", "20", "77", "128", "130", "481.1")
    ),
)
"""The first prefix of the SOP Class UID decides (PS3.4 B.5); others of CT (raw data, RT) are other objects."""
_ARCHIVES = (b"PK\3\4", b"PK\5\6", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files of one kind that are not part of the study."""

    kind: OtherKind
    count: int

    @property
    def text(self) -> str:
        """Description in English: ``3 files that are not DICOM``."""
        singular, plural = _TEXTS[self.kind]
        return singular if self.count == 1 else plural.format(count=self.count)


def left_out_of(counts: Counter[OtherKind]) -> tuple[LeftOut, ...]:
    """Return the counts as a list in the order of ``OtherKind``."""
    return tuple(LeftOut(kind, counts[kind]) for kind in OtherKind if counts[kind])


def joined(left_out: Iterable[LeftOut]) -> str:
    """Join a list in one line of text."""
    return ", ".join(files.text for files in left_out)


def sort_head(head: bytes) -> tuple[FileMeta, int] | OtherKind:
    """Return the meta information of a DICOM file, or another kind, from the first ``HEAD_BYTES``.

    Raises
    ------
    HeaderError
        A DICOM file whose file meta information is damaged; it may be a CT image.
    """
    if not head:
        return OtherKind.EMPTY
    try:
        return read_media_meta(head)
    except NotDicomError:
        return OtherKind.ARCHIVE if head.startswith(_ARCHIVES) else OtherKind.NOT_DICOM


def kind_of_class(sop_class_uid: str) -> OtherKind | None:
    """Return the kind of a SOP class; None for CT images."""
    if sop_class_uid in STORAGE_CLASSES:
        return None
    for prefix, kind in _BY_CLASS:
        if sop_class_uid == prefix or sop_class_uid.startswith(prefix + "."):
            return kind
    return OtherKind.OTHER_OBJECT
