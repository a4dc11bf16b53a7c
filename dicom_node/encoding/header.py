"""Header of an encoded dataset for the index: patient, study, series and instance identity, without pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from db.domain.uids import is_uid
from dicom_node.encoding.elements import ByteSource, Elements, Encoding, WalkLimits, walk_elements
from dicom_node.encoding.errors import InvalidAttributeError, MissingAttributeError
from dicom_node.encoding.text import character_encodings, decode_text

_CHARACTER_SET = 0x00080005
_TAGS: dict[str, int] = {
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyDate": 0x00080020,
    "StudyTime": 0x00080030,
    "AccessionNumber": 0x00080050,
    "Modality": 0x00080060,
    "ReferringPhysicianName": 0x00080090,
    "StudyDescription": 0x00081030,
    "SeriesDescription": 0x0008103E,
    "PatientName": 0x00100010,
    "PatientID": 0x00100020,
    "IssuerOfPatientID": 0x00100021,
    "PatientBirthDate": 0x00100030,
    "PatientSex": 0x00100040,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
    "StudyID": 0x00200010,
    "SeriesNumber": 0x00200011,
    "InstanceNumber": 0x00200013,
    "RequestedProcedurePriority": 0x00401003,
}
_HEADER_TAGS = frozenset(_TAGS.values()) | {_CHARACTER_SET}
_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(\.\d{1,6})?")
_STAT = frozenset({"STAT", "HIGH"})
_INTEGER = re.compile(r"[+-]?\d{1,10}")
_IDENTITY_CHARACTERS = 256
"""LO has 64 (PS3.5 6.2), senders exceed it. A longer identity is refused: cut short, it might equal someone else's."""
_TEXT_CHARACTERS = 1024
"""Of descriptions and names; what is longer is cut."""


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """Attributes of one instance for the index; text is decoded, absent values are empty."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_date: str
    study_time: str
    study_description: str
    accession_number: str
    study_id: str
    referring_physician_name: str
    modality: str
    series_number: int | None
    series_description: str
    instance_number: int | None
    has_pixel_data: bool
    is_stat: bool = False
    """Requested Procedure Priority (PS3.4 K.6.1.2.2) is STAT or HIGH."""


def read_header(source: ByteSource, encoding: Encoding, limits: WalkLimits | None = None) -> InstanceHeader:
    """Read the header of a dataset, and check its structure up to the end of Pixel Data.

    Raises
    ------
    HeaderError
        The dataset is malformed, or lacks a valid UID of class, instance, study or series.
    """
    return _Values(walk_elements(source, encoding, _HEADER_TAGS, limits)).header()


class _Values:
    """Typed access to the raw values of a walk."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements
        self._encodings = character_encodings(elements.values.get(_CHARACTER_SET, b""))

    def header(self) -> InstanceHeader:
        return InstanceHeader(
            sop_class_uid=self._uid("SOPClassUID"),
            sop_instance_uid=self._uid("SOPInstanceUID"),
            study_instance_uid=self._uid("StudyInstanceUID"),
            series_instance_uid=self._uid("SeriesInstanceUID"),
            patient_id=self._identity("PatientID"),
            issuer_of_patient_id=self._identity("IssuerOfPatientID"),
            patient_name=self._text("PatientName", _TEXT_CHARACTERS, is_name=True),
            patient_birth_date=self._date("PatientBirthDate"),
            patient_sex=self._text("PatientSex", 16),
            study_date=self._date("StudyDate"),
            study_time=self._time("StudyTime"),
            study_description=self._text("StudyDescription", _TEXT_CHARACTERS),
            accession_number=self._text("AccessionNumber", _TEXT_CHARACTERS),
            study_id=self._text("StudyID", _TEXT_CHARACTERS),
            referring_physician_name=self._text("ReferringPhysicianName", _TEXT_CHARACTERS, is_name=True),
            modality=self._text("Modality", 16),
            series_number=self._integer("SeriesNumber"),
            series_description=self._text("SeriesDescription", _TEXT_CHARACTERS),
            instance_number=self._integer("InstanceNumber"),
            has_pixel_data=self._elements.has_pixel_data,
            is_stat=_ascii(self._raw("RequestedProcedurePriority")).strip().upper() in _STAT,
        )

    def _raw(self, keyword: str) -> bytes:
        return self._elements.values.get(_TAGS[keyword], b"")

    def _uid(self, keyword: str) -> str:
        text = _ascii(self._raw(keyword))
        if not text:
            raise MissingAttributeError(keyword)
        if not is_uid(text):
            raise InvalidAttributeError(keyword, "is not a UID")
        return text

    def _text(self, keyword: str, characters: int, *, is_name: bool = False) -> str:
        return decode_text(self._raw(keyword), self._encodings, is_name=is_name)[:characters]

    def _identity(self, keyword: str) -> str:
        is_complete = self._elements.lengths.get(_TAGS[keyword], 0) <= len(self._raw(keyword))
        text = decode_text(self._raw(keyword), self._encodings)
        if not is_complete or len(text) > _IDENTITY_CHARACTERS:
            raise InvalidAttributeError(keyword, f"is longer than {_IDENTITY_CHARACTERS} characters")
        return text

    def _date(self, keyword: str) -> str:
        return _date(self._raw(keyword))

    def _time(self, keyword: str) -> str:
        return _time(self._raw(keyword))

    def _integer(self, keyword: str) -> int | None:
        text = _ascii(self._raw(keyword)).split("\\")[0].strip()
        number = int(text) if _INTEGER.fullmatch(text) else None
        return number if number is not None and -(2**31) <= number < 2**31 else None


def _ascii(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\0 ")


@lru_cache(maxsize=256)
def _date(raw: bytes) -> str:
    """Return a DA value as YYYYMMDD (ACR-NEMA's dots are dropped); empty where it is invalid (PS3.5 6.2)."""
    match = _DATE.fullmatch(_ascii(raw))
    if not match or not ("01" <= match[2] <= "12" and "01" <= match[3] <= "31"):
        return ""
    return match[1] + match[2] + match[3]


@lru_cache(maxsize=256)
def _time(raw: bytes) -> str:
    match = _TIME.fullmatch(_ascii(raw))
    if not match or match[1] > "23" or (match[2] or "00") > "59" or (match[3] or "00") > "60":
        return ""
    return "".join(part or "" for part in match.groups())
