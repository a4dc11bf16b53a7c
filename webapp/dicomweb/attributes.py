"""Archive records in the DICOM JSON Model (PS3.18 F.2), with the attributes of QIDO-RS (10.6.3.3)."""

from __future__ import annotations

import re
from typing import Any

from flask import url_for

from db.archive.search import ArchivedStudy, Match
from webapp.services.registry import absolute_url

Attributes = dict[str, dict[str, Any]]

FROM_FILES = frozenset({"00280008", "00280010", "00280011", "00280100"})
"""Number of Frames, Rows, Columns, Bits Allocated: returned for instances, read from their files."""
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def tag_of(name: str) -> str:
    """Return the tag of an attribute given by tag or keyword; empty if unknown."""
    from pydicom.datadict import tag_for_keyword  # imported here, as only queries need the dictionary

    if _TAG.fullmatch(name):
        return name.upper()
    tag = tag_for_keyword(name)
    return f"{tag:08X}" if tag is not None else ""


def keyword_of(name: str) -> str | None:
    """Return the keyword of an attribute given by tag or keyword; None if unknown."""
    from pydicom.datadict import keyword_for_tag, tag_for_keyword

    if _TAG.fullmatch(name):
        return keyword_for_tag(int(name, 16)) or name.upper()
    return name if tag_for_keyword(name) is not None else None


def study(record: ArchivedStudy) -> Attributes:
    """Return the attributes of a study."""
    patient = record.patient
    return {
        "00080005": values("CS", "ISO_IR 192"),
        "00080020": values("DA", record.study_date),
        "00080030": values("TM", record.study_time),
        "00080050": values("SH", record.accession_number),
        "00080056": values("CS", "ONLINE"),
        "00080061": values("CS", *record.modalities),
        "00080090": _name(record.referring_physician),
        "00081030": values("LO", record.study_description),
        "00081190": values("UR", retrieve_url(study_uid=record.study_instance_uid)),
        "00100010": _name(patient.name),
        "00100020": values("LO", patient.patient_id),
        "00100021": values("LO", patient.issuer),
        "00100030": values("DA", patient.birth_date),
        "00100040": values("CS", patient.sex),
        "0020000D": values("UI", record.study_instance_uid),
        "00200010": values("SH", record.local_study_id),
        "00201206": values("IS", record.series_count),
        "00201208": values("IS", record.instance_count),
    }


def series(match: Match) -> Attributes:
    """Return the attributes of a series and its study."""
    record = match.series
    if record is None:
        raise TypeError("no series was searched for")
    uids = {"study_uid": match.study.study_instance_uid, "series_uid": record.series_instance_uid}
    return study(match.study) | {
        "00080060": values("CS", record.modality),
        "0008103E": values("LO", record.series_description),
        "00081190": values("UR", retrieve_url(**uids)),
        "0020000E": values("UI", record.series_instance_uid),
        "00200011": values("IS", record.series_number),
        "00201209": values("IS", record.instance_count),
    }


def instance(match: Match) -> Attributes:
    """Return the attributes of an instance, its series and study."""
    record = match.instance
    if record is None:
        raise TypeError("no instance was searched for")
    uids = {"study_uid": record.study_instance_uid, "series_uid": record.series_instance_uid}
    return series(match) | {
        "00080016": values("UI", record.sop_class_uid),
        "00080018": values("UI", record.sop_instance_uid),
        "00081190": values("UR", retrieve_url(**uids, sop_uid=record.sop_instance_uid)),
        "00083002": values("UI", record.transfer_syntax_uid),
        "00200013": values("IS", record.instance_number),
    }


def retrieve_url(study_uid: str, series_uid: str | None = None, sop_uid: str | None = None) -> str:
    """Return the Retrieve URL of a study, series or instance."""
    return absolute_url(url_for("wado.part10_files", study_uid=study_uid, series_uid=series_uid, sop_uid=sop_uid))


def values(vr: str, *values: str | int | None) -> dict[str, Any]:
    """Return the element of a VR with values; empty ones are left out."""
    present = [value for value in values if value not in (None, "")]
    return {"vr": vr, "Value": present} if present else {"vr": vr}


def _name(text: str) -> dict[str, Any]:
    """Return a person name element with its component groups (PS3.18 F.2.2)."""
    groups = {name: group for name, group in zip(_GROUPS, text.split("="), strict=False) if group.strip("^ ")}
    return {"vr": "PN", "Value": [groups]} if groups else {"vr": "PN"}
