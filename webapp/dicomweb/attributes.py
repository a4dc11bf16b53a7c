"""Records of the archive in the DICOM JSON Model (PS3.18 F.2), with the attributes that QIDO-RS asks for (10.6.3.3)."""

from __future__ import annotations

import re
from typing import Any

from flask import url_for

from db.archive.search import ArchivedStudy, Match
from webapp.services.registry import absolute_url

Attributes = dict[str, dict[str, Any]]

FROM_FILES = frozenset({"00280008", "00280010", "00280011", "00280100"})
"""Number of Frames, Rows, Columns, Bits Allocated: told of instances, though the index does not know them."""
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def tag_of(name: str) -> str:
    """Tag of an attribute that is named by tag or keyword; empty where there is no such attribute."""
    from pydicom.datadict import tag_for_keyword  # only a query needs the dictionary

    if _TAG.fullmatch(name):
        return name.upper()
    tag = tag_for_keyword(name)
    return f"{tag:08X}" if tag is not None else ""


def keyword_of(name: str) -> str | None:
    """Keyword of an attribute that is named by tag or keyword; None where there is no such attribute."""
    from pydicom.datadict import keyword_for_tag, tag_for_keyword

    if _TAG.fullmatch(name):
        return keyword_for_tag(int(name, 16)) or name.upper()
    return name if tag_for_keyword(name) is not None else None


def study(found: ArchivedStudy) -> Attributes:
    """Describe a study."""
    patient = found.patient
    return {
        "00080005": values("CS", "ISO_IR 192"),
        "00080020": values("DA", found.study_date),
        "00080030": values("TM", found.study_time),
        "00080050": values("SH", found.accession_number),
        "00080056": values("CS", "ONLINE"),
        "00080061": values("CS", *found.modalities),
        "00080090": _name(found.referring_physician),
        "00081030": values("LO", found.study_description),
        "00081190": values("UR", retrieve_url(study_uid=found.study_instance_uid)),
        "00100010": _name(patient.name),
        "00100020": values("LO", patient.patient_id),
        "00100021": values("LO", patient.issuer),
        "00100030": values("DA", patient.birth_date),
        "00100040": values("CS", patient.sex),
        "0020000D": values("UI", found.study_instance_uid),
        "00200010": values("SH", found.local_study_id),
        "00201206": values("IS", found.series_count),
        "00201208": values("IS", found.instance_count),
    }


def series(match: Match) -> Attributes:
    """Describe a series, with its study."""
    found = match.series
    if found is None:
        raise TypeError("no series was searched for")
    uids = {"study_uid": match.study.study_instance_uid, "series_uid": found.series_instance_uid}
    return study(match.study) | {
        "00080060": values("CS", found.modality),
        "0008103E": values("LO", found.series_description),
        "00081190": values("UR", retrieve_url(**uids)),
        "0020000E": values("UI", found.series_instance_uid),
        "00200011": values("IS", found.series_number),
        "00201209": values("IS", found.instance_count),
    }


def instance(match: Match) -> Attributes:
    """Describe an instance, with its series and study."""
    found = match.instance
    if found is None:
        raise TypeError("no instance was searched for")
    uids = {"study_uid": found.study_instance_uid, "series_uid": found.series_instance_uid}
    return series(match) | {
        "00080016": values("UI", found.sop_class_uid),
        "00080018": values("UI", found.sop_instance_uid),
        "00081190": values("UR", retrieve_url(**uids, sop_uid=found.sop_instance_uid)),
        "00083002": values("UI", found.transfer_syntax_uid),
        "00200013": values("IS", found.instance_number),
    }


def retrieve_url(study_uid: str, series_uid: str | None = None, sop_uid: str | None = None) -> str:
    """Address of a study, a series or an instance."""
    return absolute_url(url_for("wado.part10_files", study_uid=study_uid, series_uid=series_uid, sop_uid=sop_uid))


def values(vr: str, *values: str | int | None) -> dict[str, Any]:
    """Write values of a VR; those that say nothing are left out."""
    told = [value for value in values if value not in (None, "")]
    return {"vr": vr, "Value": told} if told else {"vr": vr}


def _name(text: str) -> dict[str, Any]:
    """Write a person name, its component groups apart (PS3.18 F.2.2)."""
    groups = {name: group for name, group in zip(_GROUPS, text.split("="), strict=False) if group.strip("^ ")}
    return {"vr": "PN", "Value": [groups]} if groups else {"vr": "PN"}
