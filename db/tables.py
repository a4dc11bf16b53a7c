"""The tables. Rows never leave this package: repositories return the frozen records of ``db.domain``.

``id`` columns are opaque; patient identity and DICOM UIDs stand only in the columns that are named for them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.columns import Names, Reasons, UtcDateTime, words
from db.domain import (
    AnalysisStatus,
    DeliveryStatus,
    FindingOrigin,
    PromotionKind,
    Reason,
    Role,
    StudyState,
    Verdict,
)
from db.exchange import CommitmentStatus, PriorStatus, RetractionCode

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Uid = String(64)
OpaqueId = String(32)
Sha256 = String(64)


class Base(DeclarativeBase):
    """All tables, with constraint names that migrations can rely on."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: UtcDateTime(),
        str: Text(),
        float: Float(53),
        dict[str, Any]: JSON(),
        tuple[Reason, ...]: Reasons(),
        tuple[str, ...]: Names(),
    }


class PatientRow(Base):
    """A patient as one issuer names one.

    ``variant`` counts patients who share an id but contradict each other (another name or birth date), and
    those without an id: they are kept apart, never merged.
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


def _partial(name: str, *columns: str, where: str) -> Index:
    condition = text(where)
    return Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


class StudyRow(Base):
    """A study, with what the worklist shows of it kept up to date in the same transaction.

    Text is looked for in a trigram index over ``search_text``: ``study_search`` on SQLite (filled by triggers, so a
    migration that makes this table anew has to make them anew too), a GIN index of pg_trgm on PostgreSQL.
    """

    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_received_at_id", "received_at", "id"),
        Index("ix_studies_state_received_at_id", "state", "received_at", "id"),
        Index("ix_studies_study_date_received_at_id", "study_date", "received_at", "id"),
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
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    study_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    patient_row_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    study_date: Mapped[str]
    study_time: Mapped[str]
    study_description: Mapped[str]
    accession_number: Mapped[str]
    local_study_id: Mapped[str] = mapped_column(server_default="")
    """Study ID (0020,0010): the study's number in words of who made it."""
    referring_physician: Mapped[str]
    search_text: Mapped[str]
    state: Mapped[StudyState] = mapped_column(words(StudyState, "state"))
    reasons: Mapped[tuple[Reason, ...]]
    flags: Mapped[tuple[Reason, ...]]
    series_count: Mapped[int]
    instance_count: Mapped[int]
    finding_count: Mapped[int]
    malignancy_probability: Mapped[float | None]
    interval_low: Mapped[float | None]
    interval_high: Mapped[float | None]
    received_at: Mapped[datetime]
    analysed_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]


class SeriesRow(Base):
    """A series of a study; ``instance_count`` also numbers its instances in order of arrival."""

    __tablename__ = "series"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)
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
    """An instance that was acknowledged; never changed, and never removed by the node itself."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("series_id", "arrival"),)

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    sop_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    transfer_syntax_uid: Mapped[str] = mapped_column(Uid)
    series_id: Mapped[str] = mapped_column(ForeignKey("series.id"))
    arrival: Mapped[int]
    instance_number: Mapped[int | None] = mapped_column(BigInteger)
    path: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Sha256)
    calling_ae_title: Mapped[str]
    peer_address: Mapped[str]
    received_at: Mapped[datetime]


class AnalysisRow(Base):
    """One analysis of the first ``instance_count`` instances of a series by one model."""

    __tablename__ = "analyses"
    __table_args__ = (
        UniqueConstraint("series_id", "input_digest", "model_sha256", "run_number"),
        UniqueConstraint("series_id", "ordinal"),
        Index(
            "uq_analyses_one_current",
            "series_id",
            unique=True,
            sqlite_where=text("status = 'current'"),
            postgresql_where=text("status = 'current'"),
        ),
        Index("ix_analyses_status_requested_at", "status", "requested_at"),
        Index("ix_analyses_finished_at_id", "finished_at", "id"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    series_id: Mapped[str] = mapped_column(ForeignKey("series.id"))
    ordinal: Mapped[int]
    input_digest: Mapped[str] = mapped_column(Sha256)
    instance_count: Mapped[int]
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    run_number: Mapped[int]
    status: Mapped[AnalysisStatus] = mapped_column(words(AnalysisStatus, "status"))
    reasons: Mapped[tuple[Reason, ...]]
    measures: Mapped[dict[str, Any]]
    requested_by: Mapped[str]
    attempts: Mapped[int]
    requested_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class TrialRow(Base):
    """What a second model says of the series of an analysis; never shown beside it."""

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("analysis_id", "model_sha256"),
        Index("ix_trials_model_sha256_finished_at", "model_sha256", "finished_at"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id"))
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    reasons: Mapped[tuple[Reason, ...]]
    findings: Mapped[dict[str, Any]]
    measures: Mapped[dict[str, Any]]
    finished_at: Mapped[datetime]


class PromotionRow(Base):
    """One change of the live model; the row with the highest number counts, and none is ever changed."""

    __tablename__ = "promotions"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[PromotionKind] = mapped_column(words(PromotionKind, "kind"))
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    bundle_sha256: Mapped[str] = mapped_column(Sha256)
    files: Mapped[tuple[str, ...]]
    back_to: Mapped[int | None]
    by: Mapped[str]
    reason: Mapped[str]
    is_forced: Mapped[bool]
    figures: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class ScannerHoldRow(Base):
    """A scanner whose answers are kept from readers, until it is released."""

    __tablename__ = "scanner_holds"
    __table_args__ = (
        Index(
            "uq_scanner_holds_one_each",
            "model",
            "kernel",
            "slice_spacing",
            unique=True,
            sqlite_where=text("released_at IS NULL"),
            postgresql_where=text("released_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    model: Mapped[str]
    kernel: Mapped[str]
    slice_spacing: Mapped[str]
    series_count: Mapped[int]
    reason: Mapped[str]
    held_by: Mapped[str]
    held_at: Mapped[datetime]
    release_reason: Mapped[str]
    released_by: Mapped[str]
    released_at: Mapped[datetime | None]


class WatchedScannerRow(Base):
    """A scanner that is watched for drift; ``block`` of its blocks of series were compared (``db.watching``)."""

    __tablename__ = "watched_scanners"

    key: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    model: Mapped[str]
    kernel: Mapped[str]
    slice_spacing: Mapped[str]
    series_count: Mapped[int]
    block: Mapped[int]


class ObservationRow(Base):
    """What the watch keeps of one series: how it looked, what was answered. No identity, so it outlives the study.

    ``number`` counts the series of a scanner that were read, from 1; None for one that was refused unread.
    """

    __tablename__ = "observations"
    __table_args__ = (UniqueConstraint("scanner_key", "number"),)

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    analysis_id: Mapped[str] = mapped_column(OpaqueId, unique=True)
    series_id: Mapped[str] = mapped_column(OpaqueId, unique=True)
    scanner_key: Mapped[str] = mapped_column(ForeignKey("watched_scanners.key"))
    number: Mapped[int | None]
    site: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    finished_at: Mapped[datetime] = mapped_column(index=True)
    reason_codes: Mapped[tuple[str, ...]]
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    findings: Mapped[list[Any]] = mapped_column(JSON)
    """``[nodule probability, malignancy probability]`` each."""
    finding_count: Mapped[int]
    doubts: Mapped[tuple[str, ...]]
    """Why findings have no malignancy: the codes of each one's reasons."""


class DriftCheckRow(Base):
    """What the comparison of one block of a scanner's series with its first ones found."""

    __tablename__ = "drift_checks"

    scanner_key: Mapped[str] = mapped_column(ForeignKey("watched_scanners.key"), primary_key=True)
    block: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    checked_at: Mapped[datetime]
    drifted: Mapped[tuple[str, ...]]
    indices: Mapped[dict[str, Any]]
    figures: Mapped[dict[str, Any]]


class WatchReportRow(Base):
    """What the watch last reported, whole; and up to when it has collected analyses."""

    __tablename__ = "watch_report"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    collected_to: Mapped[datetime | None]
    reported_at: Mapped[datetime | None]
    report: Mapped[dict[str, Any]]


class PathologyRow(Base):
    """What pathology said of a nodule; ``id`` is a digest of what it is of, so that importing twice changes nothing."""

    __tablename__ = "pathology"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)
    finding_id: Mapped[str | None] = mapped_column(ForeignKey("findings.id"), index=True)
    x_mm: Mapped[float]
    y_mm: Mapped[float]
    z_mm: Mapped[float]
    is_malignant: Mapped[bool]
    told_on: Mapped[str]
    source: Mapped[str]
    imported_by: Mapped[str]
    imported_at: Mapped[datetime] = mapped_column(index=True)


class FindingRow(Base):
    """A place that a model or a reader pointed at."""

    __tablename__ = "findings"
    __table_args__ = (
        CheckConstraint("nodule_probability BETWEEN 0 AND 1", name="nodule_probability"),
        CheckConstraint("malignancy_probability BETWEEN 0 AND 1", name="malignancy_probability"),
        CheckConstraint("interval_low BETWEEN 0 AND 1 AND interval_high BETWEEN interval_low AND 1", name="interval"),
        CheckConstraint("(origin = 'model') = (analysis_id IS NOT NULL)", name="model_findings_have_an_analysis"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)
    series_id: Mapped[str] = mapped_column(ForeignKey("series.id"))
    instance_id: Mapped[str] = mapped_column(ForeignKey("instances.id"))
    analysis_id: Mapped[str | None] = mapped_column(ForeignKey("analyses.id"), index=True)
    ordinal: Mapped[int]
    origin: Mapped[FindingOrigin] = mapped_column(words(FindingOrigin, "origin"))
    frame_number: Mapped[int]
    row_px: Mapped[float]
    column_px: Mapped[float]
    x_mm: Mapped[float]
    y_mm: Mapped[float]
    z_mm: Mapped[float]
    diameter_mm: Mapped[float | None]
    nodule_probability: Mapped[float | None]
    malignancy_probability: Mapped[float | None]
    interval_low: Mapped[float | None]
    interval_high: Mapped[float | None]
    prediction_set: Mapped[tuple[str, ...]]
    reasons: Mapped[tuple[Reason, ...]]
    attributes: Mapped[dict[str, Any]]
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class AssessmentRow(Base):
    """A reader's verdict on a finding; ``number`` orders them, whatever the clock did."""

    __tablename__ = "assessments"
    __table_args__ = (UniqueConstraint("finding_id", "number"), Index("ix_assessments_created_at", "created_at"))

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    finding_id: Mapped[str] = mapped_column(ForeignKey("findings.id"))
    number: Mapped[int]
    verdict: Mapped[Verdict] = mapped_column(words(Verdict, "verdict"))
    reason: Mapped[str]
    comment: Mapped[str]
    reader: Mapped[str]
    is_read_first: Mapped[bool] = mapped_column(server_default=false())
    """Whether the reader had read the study before the model was shown, as the trail tells."""
    created_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class PredictionRow(Base):
    """An answer to an upload, with what the uploader told about the patient (no identity)."""

    __tablename__ = "predictions"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str]
    input_sha256: Mapped[str] = mapped_column(Sha256)
    predicted_class: Mapped[str | None]
    probabilities: Mapped[dict[str, Any]]
    prediction_set: Mapped[tuple[str, ...]]
    in_domain: Mapped[bool]
    reasons: Mapped[tuple[Reason, ...]]
    unvalidated: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    model_name: Mapped[str]
    model_version: Mapped[str]
    model_sha256: Mapped[str] = mapped_column(Sha256)
    temperature: Mapped[float]
    age: Mapped[int | None]
    sex: Mapped[str | None]
    smoking_pack_years: Mapped[float | None]
    family_history: Mapped[bool | None]
    symptoms: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)


class DeliveryRow(Base):
    """One result object on its way to one destination."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "destination"),
        Index("ix_deliveries_status_next_attempt_at", "status", "next_attempt_at"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id"), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(Uid)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    kind: Mapped[str]
    destination: Mapped[str]
    path: Mapped[str]
    status: Mapped[DeliveryStatus] = mapped_column(words(DeliveryStatus, "status"))
    attempts: Mapped[int]
    reason: Mapped[str]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ResultRow(Base):
    """One result object that was made of an analysis."""

    __tablename__ = "results"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id"), index=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)
    sop_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    series_instance_uid: Mapped[str] = mapped_column(Uid)
    series_number: Mapped[int]
    modality: Mapped[str]
    instance_number: Mapped[int]
    kind: Mapped[str]
    path: Mapped[str]
    created_at: Mapped[datetime]


class RetractionRow(Base):
    """The results of one analysis were withdrawn."""

    __tablename__ = "retractions"

    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id"), primary_key=True)
    code: Mapped[RetractionCode] = mapped_column(words(RetractionCode, "code"))
    reason: Mapped[str]
    requested_by: Mapped[str]
    requested_at: Mapped[datetime]


class CommitmentRow(Base):
    """A peer's request that we answer for instances; ``wanted`` lists ``[SOP Class UID, SOP Instance UID]``."""

    __tablename__ = "commitments"
    __table_args__ = (
        UniqueConstraint("ae_title", "transaction_uid"),
        Index("ix_commitments_status_next_attempt_at", "status", "next_attempt_at"),
    )

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    ae_title: Mapped[str]
    transaction_uid: Mapped[str] = mapped_column(Uid)
    peer_address: Mapped[str]
    wanted: Mapped[list[Any]] = mapped_column(JSON)
    status: Mapped[CommitmentStatus] = mapped_column(words(CommitmentStatus, "status"))
    attempts: Mapped[int]
    reason: Mapped[str]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PriorSearchRow(Base):
    """Earlier studies of a study's patient are looked for in one PACS."""

    __tablename__ = "prior_searches"

    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    pacs: Mapped[str] = mapped_column(String(16), primary_key=True)
    status: Mapped[PriorStatus] = mapped_column(words(PriorStatus, "status"))
    attempts: Mapped[int]
    reason: Mapped[str]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PriorStudyRow(Base):
    """An earlier study that is fetched; what arrives of it is stored and not analysed unless someone asks."""

    __tablename__ = "prior_studies"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id"), index=True)
    pacs: Mapped[str]
    study_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    status: Mapped[PriorStatus] = mapped_column(words(PriorStatus, "status"))
    expected_count: Mapped[int]
    received_count: Mapped[int]
    attempts: Mapped[int]
    reason: Mapped[str]
    next_attempt_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class UserRow(Base):
    """A person who may sign in; ``name_key`` is the case-folded name that is looked up."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role] = mapped_column(words(Role, "role"))
    password_hash: Mapped[str]
    failed_attempts: Mapped[int]
    locked_until: Mapped[datetime | None]
    is_disabled: Mapped[bool]
    created_at: Mapped[datetime]
    password_changed_at: Mapped[datetime]


class SavedFilterRow(Base):
    """A reader's named way to look at the worklist."""

    __tablename__ = "saved_filters"
    __table_args__ = (UniqueConstraint("owner", "name"),)

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    query: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TokenRow(Base):
    """A program's access token, of which only the SHA-256 is kept."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role] = mapped_column(words(Role, "role"))
    sha256: Mapped[str] = mapped_column(Sha256, unique=True)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class WebSessionRow(Base):
    """A signed-in browser, by the SHA-256 of its cookie."""

    __tablename__ = "web_sessions"

    digest: Mapped[str] = mapped_column(Sha256, primary_key=True)
    name: Mapped[str]
    role: Mapped[Role | None] = mapped_column(words(Role, "role"))
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime] = mapped_column(index=True)


class WorkerRow(Base):
    """A worker's heartbeats."""

    __tablename__ = "workers"

    executor_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    beats: Mapped[int] = mapped_column(BigInteger())
    version: Mapped[str]
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]


class ServedRevisionRow(Base):
    """A schema revision whose code may still run on the present one (``db.schema``)."""

    __tablename__ = "served_revisions"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)


class AuditEventRow(Base):
    """One event of the trail. Triggers refuse UPDATE, DELETE, TRUNCATE and any sequence but the next."""

    __tablename__ = "audit_events"

    sequence: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False
    )
    occurred_at: Mapped[str]
    """ISO 8601, UTC, microseconds: the very text that is sealed."""
    action: Mapped[str] = mapped_column(index=True)
    actor: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    outcome: Mapped[str]
    details: Mapped[str]
    mac: Mapped[str] = mapped_column(Sha256)


class AuditHeadRow(Base):
    """Where the trail ends; ``head_mac`` keeps those without the key from naming an earlier end."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"))
    mac: Mapped[str] = mapped_column(Sha256)
    head_mac: Mapped[str] = mapped_column(Sha256)
