"""Records of the archive in the DICOM JSON Model (PS3.18 F.2), with the attributes that QIDO-RS asks for (10.6.3.3)."""

from __future__ import annotations

import re
from typing import Any

from flask import url_for
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from db.archive_search import ArchivedStudy, Match

Attributes = dict[str, dict[str, Any]]

FROM_FILES = frozenset({"00280008", "00280010", "00280011", "00280100"})
"""Number of Frames, Rows, Columns, Bits Allocated: told of instances, though the index does not know them."""
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def tag_of(name: str) -> str:
    """Tag of an attribute that is named by tag or keyword; empty where there is no such attribute."""
    if _TAG.fullmatch(name):
        return name.upper()
    tag = tag_for_keyword(name)
    return f"{tag:08X}" if tag is not None else ""


def keyword_of(name: str) -> str | None:
    """Keyword of an attribute that is named by tag or keyword; None where there is no such attribute."""
    if _TAG.fullmatch(name):
        return keyword_for_tag(int(name, 16)) or name.upper()
    return name if tag_for_keyword(name) is not None else None


def study(found: ArchivedStudy) -> Attributes:
    """Describe a study."""
    patient = found.patient
    return {
        "00080005": _values("CS", "ISO_IR 192"),
        "00080020": _values("DA", found.study_date),
        "00080030": _values("TM", found.study_time),
        "00080050": _values("SH", found.accession_number),
        "00080056": _values("CS", "ONLINE"),
        "00080061": _values("CS", *found.modalities),
        "00080090": _name(found.referring_physician),
        "00081030": _values("LO", found.study_description),
        "00081190": _values("UR", _url(study_uid=found.study_instance_uid)),
        "00100010": _name(patient.name),
        "00100020": _values("LO", patient.patient_id),
        "00100021": _values("LO", patient.issuer),
        "00100030": _values("DA", patient.birth_date),
        "00100040": _values("CS", patient.sex),
        "0020000D": _values("UI", found.study_instance_uid),
        "00200010": _values("SH"),
        "00201206": _values("IS", found.series_count),
        "00201208": _values("IS", found.instance_count),
    }


def series(match: Match) -> Attributes:
    """Describe a series, with its study."""
    found = match.series
    if found is None:
        raise TypeError("no series was searched for")
    uids = {"study_uid": match.study.study_instance_uid, "series_uid": found.series_instance_uid}
    return study(match.study) | {
        "00080060": _values("CS", found.modality),
        "0008103E": _values("LO", found.series_description),
        "00081190": _values("UR", _url(**uids)),
        "0020000E": _values("UI", found.series_instance_uid),
        "00200011": _values("IS", found.series_number),
        "00201209": _values("IS", found.instance_count),
    }


def instance(match: Match) -> Attributes:
    """Describe an instance, with its series and study."""
    found = match.instance
    if found is None:
        raise TypeError("no instance was searched for")
    uids = {"study_uid": found.study_instance_uid, "series_uid": found.series_instance_uid}
    return series(match) | {
        "00080016": _values("UI", found.sop_class_uid),
        "00080018": _values("UI", found.sop_instance_uid),
        "00081190": _values("UR", _url(**uids, sop_uid=found.sop_instance_uid)),
        "00083002": _values("UI", found.transfer_syntax_uid),
        "00200013": _values("IS", found.instance_number),
    }


def _url(**uids: str) -> str:
    return url_for("wado.whole", **uids, _external=True)


def _values(vr: str, *values: str | int | None) -> dict[str, Any]:
    told = [value for value in values if value not in (None, "")]
    return {"vr": vr, "Value": told} if told else {"vr": vr}


def _name(text: str) -> dict[str, Any]:
    """Write a person name, its component groups apart (PS3.18 F.2.2)."""
    groups = {name: group for name, group in zip(_GROUPS, text.split("="), strict=False) if group.strip("^ ")}
    return {"vr": "PN", "Value": [groups]} if groups else {"vr": "PN"}
