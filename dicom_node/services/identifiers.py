"""Identifiers of queries: parsing, matching and responses (PS3.4 C.2.2.2, C.6.2).

An identifier is an untrusted dataset: whatever cannot be read of it raises ``IdentifierError``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from db.archive.index import ArchivedInstance
from db.archive.search import ArchivedSeries, ArchivedStudy, Between, Condition, Like, OneOf
from dicom_node.encoding.errors import UNREADABLE, DicomNodeError

STUDY, SERIES, IMAGE = "STUDY", "SERIES", "IMAGE"
MAX_KEYS = 200
MAX_VALUES = 5000
MAX_OTHER_VALUES = 50
"""Of an attribute that is no UID; the standard has lists of UIDs alone (PS3.4 C.2.2.2.2)."""
_PASSIVE = frozenset({"SpecificCharacterSet", "QueryRetrieveLevel", "TimezoneOffsetFromUTC", "RetrieveAETitle"})
MAX_FORM = 256
"""Characters of a value that the index is asked for; what is longer is compared here alone."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_DATE = re.compile(r"\d{8}")
_TAG = re.compile(r"[0-9A-F]{8}")
_SEQUENCE = "(items)"
"""Value of a sequence key whose items contain keys."""
_INTEGER = re.compile(r"[+-]?\d{1,9}")


class IdentifierError(DicomNodeError):
    """An invalid identifier, answered with 0xA900."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the identifier {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a query: keyword, value representation and requested values (none: universal matching)."""

    keyword: str
    vr: str
    values: tuple[str, ...]

    @property
    def has_wildcards(self) -> bool:
        """Return True if it is a wildcard match."""
        return self.vr not in ("UI", "DA", "TM", "IS") and any(set(value) & set("*?") for value in self.values)


@dataclass(frozen=True, slots=True)
class Identifier:
    """Identifier of a query or retrieval."""

    level: str
    keys: tuple[Key, ...]

    def values(self, keyword: str) -> tuple[str, ...]:
        """Return the requested values of a key."""
        return next((key.values for key in self.keys if key.keyword == keyword), ())

    def unique(self, keyword: str) -> str:
        """Return the one UID of a unique key above the query's level (PS3.4 C.4.1.2.1).

        Raises
        ------
        IdentifierError
            It names none, or several.
        """
        values = self.values(keyword)
        if len(values) != 1 or set(values[0]) & set("*?"):
            raise IdentifierError(f"needs one {keyword}")
        return values[0]


def read_identifier(read: Callable[[], Dataset]) -> Identifier:
    """Parse an identifier.

    Parameters
    ----------
    read
        Decodes it (``event.identifier`` of pynetdicom decodes when it is looked at).

    Raises
    ------
    IdentifierError
    """
    try:
        ds = read()
        level = str(ds.get("QueryRetrieveLevel") or "").strip()
        keys = tuple(_key(element) for element in ds if element.keyword not in _PASSIVE and element.tag.element)
    except UNREADABLE:
        raise IdentifierError("cannot be read") from None
    if level not in (STUDY, SERIES, IMAGE):
        raise IdentifierError("asks at a level that Study Root does not have")
    if len(keys) > MAX_KEYS or sum(len(key.values) for key in keys) > MAX_VALUES:
        raise IdentifierError("asks for too much at once")
    for key in keys:
        if key.vr != "UI" and len(key.values) > MAX_OTHER_VALUES:
            raise IdentifierError("asks for too many values of one attribute")
        if any(_CONTROL.search(value) for value in key.values):
            raise IdentifierError("has a control character in a value")
    return Identifier(level, keys)


def _key(element: Any) -> Key:
    name = element.keyword or f"{element.tag:08X}"
    if element.VR == "SQ":
        has_values = any(part.value not in (None, "") for item in element.value for part in item)
        return Key(name, "SQ", (_SEQUENCE,) if has_values else ())
    value = element.value
    parts = list(value) if isinstance(value, MultiValue | list | tuple) else [value]
    return Key(name, element.VR, tuple(text for part in parts if (text := _text(part))))


def refuse_unsupported_keys(identifier: Identifier, supported: Collection[str]) -> None:
    """Refuse a key with a value that is not matched: the response would exceed the query.

    A key without a value only asks for an attribute, and private ones mean nothing here; both may be ignored.

    Raises
    ------
    IdentifierError
    """
    for key in identifier.keys:
        if key.values and key.keyword not in supported and not _is_private(key.keyword):
            raise IdentifierError(f"has a key that is not matched: {key.keyword}")


def _is_private(keyword: str) -> bool:
    return bool(_TAG.fullmatch(keyword)) and int(keyword[3], 16) % 2 == 1


def _text(value: object) -> str:
    return "" if value is None else str(value).strip(" \0")


def is_match(key: Key, candidates: Sequence[str]) -> bool:
    """Return True if one of the values matches a key; a key without a value matches any."""
    return not key.values or any(
        _matches_one(key.vr, requested, value) for requested in key.values for value in candidates
    )


def _matches_one(vr: str, requested: str, value: str) -> bool:
    if vr in ("DA", "TM") and "-" in requested:
        return _is_within(requested, value)
    if vr == "PN":  # a component group matches any of the name's (PS3.5 6.2.1.1)
        groups = [_folded(group) for group in value.split("=")]
        requested_groups = [group for part in requested.split("=") if (group := _folded(part))]
        return all(any(_has_form(group, value_group) for value_group in groups) for group in requested_groups)
    if vr in ("UI", "DA", "TM", "IS"):
        return requested == value
    return _has_form(requested, value)


def _has_form(requested: str, value: str) -> bool:
    return fnmatchcase(value, requested.replace("[", "[[]")) if set(requested) & set("*?") else requested == value


def _folded(name: str) -> str:
    return name.lower().strip(" ").rstrip("^ ")


def _is_within(requested: str, value: str) -> bool:
    """Return True if a value is in a range (PS3.4 C.2.2.2.5); an absent value is in none."""
    low, _, high = requested.partition("-")
    return bool(value) and (not low or value >= low) and (not high or value[: len(high)] <= high)


def condition(key: Key) -> Condition | None:
    """Return a key as a condition on the index; None for universal matching and what the index cannot express.

    What the index finds may be more than what the key asks for (``is_match`` decides), never less.
    """
    if not key.values or max(map(len, key.values)) > MAX_FORM or key.vr == "TM":
        return None
    if key.vr == "DA":
        return _dates(key.values)
    if key.vr == "IS":
        return OneOf(key.values) if all(map(_INTEGER.fullmatch, key.values)) else None
    if key.has_wildcards:
        return Like(key.values[0]) if len(key.values) == 1 else None
    return OneOf(key.values)


def _dates(values: Sequence[str]) -> Condition | None:
    if all(map(_DATE.fullmatch, values)):
        return OneOf(tuple(values))
    low, dash, high = values[0].partition("-")
    is_range = len(values) == 1 and dash and all(_DATE.fullmatch(end) or not end for end in (low, high))
    return Between(low, high) if is_range else None


Values = Mapping[str, Sequence[str]]


def study_values(study: ArchivedStudy) -> dict[str, Sequence[str]]:
    """Return the attributes of a study by keyword."""
    return {
        "StudyInstanceUID": [study.study_instance_uid],
        "StudyDate": [study.study_date],
        "StudyTime": [study.study_time],
        "AccessionNumber": [study.accession_number],
        "StudyID": [study.local_study_id],
        "StudyDescription": [study.study_description],
        "ReferringPhysicianName": [study.referring_physician],
        "PatientID": [study.patient.patient_id],
        "IssuerOfPatientID": [study.patient.issuer],
        "PatientName": [study.patient.name],
        "PatientBirthDate": [study.patient.birth_date],
        "PatientSex": [study.patient.sex],
        "ModalitiesInStudy": list(study.modalities),
        "NumberOfStudyRelatedSeries": [str(study.series_count)],
        "NumberOfStudyRelatedInstances": [str(study.instance_count)],
        "InstanceAvailability": ["ONLINE"],
    }


def series_values(study_instance_uid: str, series: ArchivedSeries) -> dict[str, Sequence[str]]:
    """Return the attributes of a series by keyword."""
    return {
        "StudyInstanceUID": [study_instance_uid],
        "SeriesInstanceUID": [series.series_instance_uid],
        "Modality": [series.modality],
        "SeriesNumber": ["" if series.series_number is None else str(series.series_number)],
        "SeriesDescription": [series.series_description],
        "NumberOfSeriesRelatedInstances": [str(series.instance_count)],
        "InstanceAvailability": ["ONLINE"],
    }


def image_values(instance: ArchivedInstance) -> dict[str, Sequence[str]]:
    """Return the attributes of an instance by keyword."""
    return {
        "StudyInstanceUID": [instance.study_instance_uid],
        "SeriesInstanceUID": [instance.series_instance_uid],
        "SOPInstanceUID": [instance.sop_instance_uid],
        "SOPClassUID": [instance.sop_class_uid],
        "InstanceNumber": ["" if instance.instance_number is None else str(instance.instance_number)],
        "InstanceAvailability": ["ONLINE"],
    }


def matches(identifier: Identifier, values: Values) -> bool:
    """Return True if values match all supported keys; unsupported keys are ignored."""
    return all(is_match(key, values[key.keyword]) for key in identifier.keys if key.keyword in values)


def has_unknown_keys(identifier: Identifier, values: Values) -> bool:
    """Return True if an unsupported optional key was requested (answered with 0xFF01, PS3.4 C.4.1.1.4)."""
    return any(key.keyword not in values for key in identifier.keys)


def response(identifier: Identifier, values: Values, station: str) -> Dataset:
    """Return a response identifier: the requested keys, as far as supported, and the retrieve AE title."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = identifier.level
    ds.RetrieveAETitle = station
    for key in identifier.keys:
        present = [value for value in values.get(key.keyword, ()) if value]
        if key.keyword in values:
            setattr(ds, key.keyword, present if len(present) > 1 else (present[0] if present else None))
    return ds
