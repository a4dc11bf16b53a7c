"""Whose study it is: one row per patient of an issuer, and never two patients in one."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.domain.records import PatientAttributes
from db.engine.session import free_text, key_text, lock_names, new_id, now
from db.tables.arrivals import PatientRow

if TYPE_CHECKING:
    from collections.abc import Sequence


@lru_cache(maxsize=256)
def normalised(patient: PatientAttributes) -> PatientAttributes:
    """Bring attributes into the form that is kept.

    Raises
    ------
    InvalidRecordError
        If the id or its issuer cannot be stored unchanged.
    """
    return PatientAttributes(
        patient_id=key_text("patient_id", patient.patient_id),
        issuer=key_text("issuer_of_patient_id", patient.issuer),
        name=free_text(patient.name).strip(" "),
        birth_date=free_text(patient.birth_date).strip(" "),
        sex=free_text(patient.sex).strip(" ").upper(),
    )


def attributes(row: PatientRow) -> PatientAttributes:
    """Tell what is known of the patient."""
    return PatientAttributes(row.patient_id, row.issuer, row.name, row.birth_date, row.sex)


def folded_name(name: str) -> str:
    """Fold a person name for comparison: case, accents, empty components and spaces do not tell people apart."""
    return folded_text(name.split("=", maxsplit=1)[0])


def folded_text(text: str) -> str:
    """Fold text for comparison and search: no case, accents, ``^``, ``=`` and doubled spaces."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.casefold()).casefold())
    letters = "".join(char for char in plain if not unicodedata.combining(char))
    return " ".join(letters.replace("^", " ").replace("=", " ").split())


def contradicts(one: PatientAttributes, other: PatientAttributes) -> bool:
    """Tell whether name, birth date or sex say that these are two people; what is not given contradicts nothing."""
    pairs = (
        (folded_name(one.name), folded_name(other.name)),
        (one.birth_date, other.birth_date),
        (one.sex, other.sex),
    )
    return any(mine and theirs and mine != theirs for mine, theirs in pairs)


def is_same_within_study(known: PatientAttributes, told: PatientAttributes) -> bool:
    """Tell whether an instance of a study may belong to the patient whom the study is known under.

    The ids must be equal; a missing issuer contradicts nothing here, since the study's UID is the same.
    """
    issuers_agree = known.issuer == told.issuer or not known.issuer or not told.issuer
    return known == told or (known.patient_id == told.patient_id and issuers_agree and not contradicts(known, told))


def lock_name(told: PatientAttributes) -> str:
    """Name the lock that whoever looks for a patient, or makes one, holds."""
    return f"patient:{told.issuer}\0{told.patient_id}"


def patient_of_new_study(session: Session, told: PatientAttributes) -> tuple[PatientRow, bool]:
    """Find or make the patient of a study that was not known before.

    Returns
    -------
    tuple
        The row, and whether the id is shared with another patient whom these attributes contradict. Without an
        id nobody is recognised: each such study gets a patient of its own.
    """
    lock_names(session, lock_name(told))
    known = session.scalars(
        select(PatientRow)
        .where(PatientRow.issuer == told.issuer, PatientRow.patient_id == told.patient_id)
        .order_by(PatientRow.variant)
    ).all()
    if told.patient_id:
        for row in known:
            if not contradicts(attributes(row), told):
                return row, False
    return _add(session, told, known), bool(known and told.patient_id)


def _add(session: Session, told: PatientAttributes, known: Sequence[PatientRow]) -> PatientRow:
    row = PatientRow(
        id=new_id(),
        issuer=told.issuer,
        patient_id=told.patient_id,
        variant=known[-1].variant + 1 if known else 0,
        name=told.name,
        birth_date=told.birth_date,
        sex=told.sex,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row
