"""Patient identification: one row per patient of an issuer, never two patients in one row."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.domain.studies import PatientAttributes
from db.engine.session import free_text, key_text, lock_names, new_id, now
from db.tables.studies import PatientRow

if TYPE_CHECKING:
    from collections.abc import Sequence

SORT_NAME_LIMIT = 64


@lru_cache(maxsize=256)
def normalised(patient: PatientAttributes) -> PatientAttributes:
    """Return attributes in their stored form.

    Raises
    ------
    InvalidRecordError
        If the Patient ID or its issuer cannot be stored unchanged.
    """
    return PatientAttributes(
        patient_id=key_text("patient_id", patient.patient_id),
        issuer=key_text("issuer_of_patient_id", patient.issuer),
        name=free_text(patient.name).strip(" "),
        birth_date=free_text(patient.birth_date).strip(" "),
        sex=free_text(patient.sex).strip(" ").upper(),
    )


def attributes(row: PatientRow) -> PatientAttributes:
    """Return the attributes of a patient's row."""
    return PatientAttributes(row.patient_id, row.issuer, row.name, row.birth_date, row.sex)


def folded_name(name: str) -> str:
    """Fold a person name for comparison, ignoring case, accents, empty components and spaces."""
    return folded_text(name.split("=", maxsplit=1)[0])


def sort_name(name: str) -> str:
    """Return the beginning of a folded person name: a key that any index can hold, whatever was sent."""
    return folded_name(name)[:SORT_NAME_LIMIT]


def folded_text(text: str) -> str:
    """Fold text for comparison and search: no case, accents, ``^``, ``=`` and doubled spaces."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.casefold()).casefold())
    letters = "".join(char for char in plain if not unicodedata.combining(char))
    return " ".join(letters.replace("^", " ").replace("=", " ").split())


def contradicts(first: PatientAttributes, other: PatientAttributes) -> bool:
    """Return whether name, birth date or sex differ; missing values contradict nothing."""
    pairs = (
        (folded_name(first.name), folded_name(other.name)),
        (first.birth_date, other.birth_date),
        (first.sex, other.sex),
    )
    return any(mine and theirs and mine != theirs for mine, theirs in pairs)


def is_same_within_study(stored: PatientAttributes, received: PatientAttributes) -> bool:
    """Return whether an instance of a study may belong to the study's patient.

    The Patient IDs must be equal; a missing issuer contradicts nothing, since the study's UID is the same.
    """
    issuers_agree = stored.issuer == received.issuer or not stored.issuer or not received.issuer
    return stored == received or (
        stored.patient_id == received.patient_id and issuers_agree and not contradicts(stored, received)
    )


def lock_name(patient: PatientAttributes) -> str:
    """Return the name of the lock for finding or adding a patient."""
    return f"patient:{patient.issuer}\0{patient.patient_id}"


def patient_of_new_study(session: Session, received: PatientAttributes) -> tuple[PatientRow, bool]:
    """Find or add the patient of a new study.

    Returns
    -------
    tuple
        The row, and whether another patient with contradicting attributes has the same Patient ID. Each study without
        a Patient ID gets a patient of its own.
    """
    lock_names(session, lock_name(received))
    rows = session.scalars(
        select(PatientRow)
        .where(PatientRow.issuer == received.issuer, PatientRow.patient_id == received.patient_id)
        .order_by(PatientRow.variant)
    ).all()
    if received.patient_id:
        for row in rows:
            if not contradicts(attributes(row), received):
                return row, False
    return _add(session, received, rows), bool(rows and received.patient_id)


def _add(session: Session, received: PatientAttributes, rows: Sequence[PatientRow]) -> PatientRow:
    row = PatientRow(
        id=new_id(),
        issuer=received.issuer,
        patient_id=received.patient_id,
        variant=rows[-1].variant + 1 if rows else 0,
        name=received.name,
        birth_date=received.birth_date,
        sex=received.sex,
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row
