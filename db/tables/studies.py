"""Tables of patients, studies, series and instances."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.domain.reasons import Reason
from db.domain.studies import StudyState
from db.tables.base import Base, ByteOrdered, OpaqueId, Sha256, Uid
from db.tables.column_types import words


class PatientRow(Base):
    """A patient of one issuer.

    ``variant`` numbers patients who share an id but contradict each other (another name or birth date), and
    those without an id; they are never merged.
    """

    __tablename__ = "patients"
    __table_args__ = (
        UniqueConstraint("issuer", "patient_id", "variant"),
        Index("ix_patients_patient_id", "patient_id"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    issuer: Mapped[str]
    patient_id: Mapped[str]
    variant: Mapped[int]
    name: Mapped[str]
    birth_date: Mapped[str]
    sex: Mapped[str]
    created_at: Mapped[datetime]


def _partial(name: str, *columns: str, where: str, sqlite_where: str = "") -> Index:
    return Index(name, *columns, sqlite_where=text(sqlite_where or where), postgresql_where=text(where))


class StudyRow(Base):
    """A study, with the worklist's fields updated in the transaction of each change.

    Text search uses a trigram index over ``search_text``: ``study_search`` on SQLite (filled by triggers, which a
    migration that recreates this table has to recreate too), a GIN index of pg_trgm on PostgreSQL.
    """

    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_received_at_id", "received_at", "id"),
        Index("ix_studies_state_received_at_id", "state", "received_at", "id"),
        Index("ix_studies_study_date_received_at_id", "study_date", "received_at", "id"),
        Index("ix_studies_sort_name", "sort_name", "received_at", "id"),
        Index("ix_studies_malignancy_probability", "malignancy_probability"),
        Index("ix_studies_accession_number", "accession_number"),
        Index("ix_studies_local_study_id", "local_study_id"),
        _partial("ix_studies_unread", "received_at", "id", where="reviewed_at IS NULL"),
        _partial("ix_studies_reviewed", "received_at", "id", where="reviewed_at IS NOT NULL"),
        _partial(
            "ix_studies_unread_probability",
            "malignancy_probability",
            "received_at",
            "id",
            where="reviewed_at IS NULL AND malignancy_probability IS NOT NULL",
        ),
        _partial(
            "ix_studies_unread_stat",
            "received_at",
            "id",
            where="reviewed_at IS NULL AND is_stat",
            sqlite_where="reviewed_at IS NULL AND is_stat = 1",
        ),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    patient_row_id: Mapped[str] = mapped_column(ForeignKey(PatientRow.id), index=True)
    study_date: Mapped[str]
    study_time: Mapped[str]
    study_description: Mapped[str]
    accession_number: Mapped[str]
    local_study_id: Mapped[str] = mapped_column(server_default="")
    """Study ID (0020,0010)."""
    referring_physician: Mapped[str]
    search_text: Mapped[str]
    sort_name: Mapped[str] = mapped_column(ByteOrdered, server_default="")
    """Beginning of the patient's folded name, which the worklist sorts by."""
    state: Mapped[StudyState] = mapped_column(words(StudyState, "state"))
    reasons: Mapped[tuple[Reason, ...]]
    flags: Mapped[tuple[Reason, ...]]
    caveats: Mapped[tuple[Reason, ...]] = mapped_column(server_default="[]", default=())
    """Caveats of the current analyses of its series, each once."""
    is_stat: Mapped[bool] = mapped_column(server_default=false())
    """High priority was asked for with any of its instances."""
    series_count: Mapped[int]
    instance_count: Mapped[int]
    finding_count: Mapped[int]
    malignancy_probability: Mapped[float | None]
    interval_low: Mapped[float | None]
    interval_high: Mapped[float | None]
    displayed: Mapped[str | None]
    """Displayed text of the probability, in English."""
    received_at: Mapped[datetime]
    analysed_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]
    assigned_to: Mapped[str | None]


class SeriesRow(Base):
    """A series; ``instance_count`` also numbers its instances in order of arrival."""

    __tablename__ = "series"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    study_id: Mapped[str] = mapped_column(ForeignKey(StudyRow.id), index=True)
    series_number: Mapped[int | None] = mapped_column(BigInteger)
    series_description: Mapped[str]
    modality: Mapped[str]
    instance_count: Mapped[int]
    state: Mapped[StudyState] = mapped_column(words(StudyState, "state"), index=True)
    reasons: Mapped[tuple[Reason, ...]]
    is_forced: Mapped[bool]
    received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]


class InstanceRow(Base):
    """An acknowledged instance; never changed, and deleted only by retention."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("series_id", "arrival"),)

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    transfer_syntax_uid: Mapped[str] = mapped_column(Uid)
    series_id: Mapped[str] = mapped_column(ForeignKey(SeriesRow.id))
    arrival: Mapped[int]
    instance_number: Mapped[int | None] = mapped_column(BigInteger)
    path: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Sha256)
    calling_ae_title: Mapped[str]
    peer_address: Mapped[str]
    received_at: Mapped[datetime]
