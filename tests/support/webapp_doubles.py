"""In-memory stand-ins for what the web is given, and a book of studies in a real database."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from db.analyses import analyses
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.scanners import Scanner
from db.domain.studies import PatientAttributes, ReceivedInstance, StudyState
from db.domain.uploads import UploadAnswer
from db.studies.instances import series_record
from inference.calibration.evidence import displayed_limits
from inference.displayed import DisplayedProbability, Question
from tests.support.migrated import migrate_sqlite
from tests.support.records import record_instance
from webapp.http.errors import UnfitInputError
from webapp.ports import (
    AcceptedStudy,
    LeftOutFiles,
    MapName,
    MarkedPoint,
    PointAnswer,
    RenderOptions,
    SliceReference,
    UploadAnalysis,
)

MODEL = ModelIdentity("nodule", "1.0", "ab" * 32)
SCANNER = Scanner("Maker One", "B60f", "1.0 mm")
SLICE_MODEL = ModelIdentity("slice", "1.0", "cd" * 32)
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DATABASE_FILE = "web.db"
_numbers = itertools.count(1)

STATUS: dict[str, object] = {
    "task": "nodule malignancy",
    "name": MODEL.name,
    "version": MODEL.version,
    "sha256": MODEL.sha256,
    "architecture": "attention residual network",
    "device": "cpu",
    "parameter_count": 2_800_000,
    "input_shape": [1, 224, 224],
    "classes": ["benign", "malignant"],
    "temperature": 1.31,
    "metrics": {
        "split": "test",
        "n": 120,
        "positives": 48,
        "groups": 70,
        "auc": 0.9,
        "auc_interval": [0.85, 0.94],
        "sensitivity": 0.91,
        "specificity": 0.82,
        "f1": 0.84,
        "temperature": 1.31,
        "ece_before": 0.08,
        "ece": 0.03,
        "ece_interval": [0.02, 0.07],
        "ece_floor": 0.025,
        "brier_before": 0.12,
        "brier": 0.1,
        "brier_interval": [0.08, 0.13],
        "coverage_by_class": {"benign": 0.95, "malignant": 0.96},
        "baselines": {"diameter by readers": {"auc": 0.88, "auc_interval": [0.81, 0.93]}},
        "subgroups": [
            {"name": "below 6 mm", "n": 42, "auc": 0.71, "auc_interval": [0.5, 0.9], "brier": 0.06},
            {"name": "8 mm and more", "n": 43, "auc": 0.83, "auc_interval": [0.68, 0.94], "brier": 0.05},
        ],
        "histogram": {"edges": [0.0, 0.25, 0.5, 0.75, 1.0], "benign": [50, 12, 6, 4], "malignant": [3, 5, 10, 30]},
        "roc": {"fpr": [0.0, 0.05, 0.2, 1.0], "tpr": [0.0, 0.6, 0.9, 1.0]},
        "reliability_before": {
            "mean": [0.2, 0.5, 0.8],
            "observed": [0.05, 0.5, 0.95],
            "n": [60, 20, 40],
            "low": [0.01, 0.3, 0.83],
            "high": [0.14, 0.7, 0.99],
        },
        "reliability": {
            "mean": [0.06, 0.5, 0.93],
            "observed": [0.05, 0.5, 0.95],
            "n": [60, 20, 40],
            "low": [0.01, 0.3, 0.83],
            "high": [0.14, 0.7, 0.99],
        },
    },
    "training_data": {"name": "an invented set for tests"},
    "intended_use": "A second reading of nodules; never a diagnosis.",
    "limits": ["Tested on nothing: this is a test."],
}


def uid() -> str:
    """A UID that no other has."""
    return f"1.2.826.0.1.3680043.8.498.{next(_numbers)}"


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of an array."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise_png(columns: int = 64, rows: int = 64) -> bytes:
    """A small grey picture."""
    return png_of(np.random.default_rng(1).integers(0, 255, (rows, columns), dtype=np.uint8))


@dataclass
class CannedPredictor:
    """Answers every picture with the same probabilities; ``in_domain`` and ``fails`` change its mind."""

    malignant: float = 0.8766
    in_domain: bool = True
    fails: Exception | None = None
    has_model: bool = True
    calls: list[tuple[int, float | None, float | None]] = field(default_factory=list)

    def predict_upload(self, content: bytes, *, row: float | None, column: float | None) -> UploadAnalysis:
        """Read the picture with Pillow and answer."""
        self.calls.append((len(content), row, column))
        if self.fails:
            raise self.fails
        if content[128:132] == b"DICM":
            return self._dicom(row, column)
        try:
            with Image.open(io.BytesIO(content)) as image:
                grey = np.asarray(image.convert("L"))
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise UnfitInputError(422, "unreadable_image", "The picture cannot be read.") from error
        return self._answer("slice", SLICE_MODEL, png_of(grey), _overlay(grey.shape))

    def preview(self, content: bytes) -> bytes:
        """A picture of 128 x 128."""
        if self.fails:
            raise self.fails
        return noise_png()

    def _dicom(self, row: float | None, column: float | None) -> UploadAnalysis:
        if row is None or column is None:
            reason = Reason("no_place", "Say where the nodule is: send row and column.")
            return UploadAnalysis(UploadAnswer("dicom", {}, (), (reason,), MODEL, 1.31), None, None)
        return self._answer("nodule", MODEL, noise_png(), None)

    def _answer(self, kind: str, model: ModelIdentity, image: bytes, attention: bytes | None) -> UploadAnalysis:
        shares = {"benign": 1 - self.malignant, "malignant": self.malignant}
        named = max(shares, key=lambda name: shares[name])
        if self.in_domain:
            question = Question.SLICE if kind == "slice" else Question.MALIGNANCY
            shown = shown_share(self.malignant, question).to_json()
            return UploadAnalysis(UploadAnswer(kind, shares, (named,), (), model, 1.1, shown), image, attention)
        reason = Reason("not_ct", "The picture does not look like a CT slice in a soft-tissue window.")
        return UploadAnalysis(UploadAnswer(kind, shares, (), (reason,), model, 1.1), image, attention)

    def analyse_point(self, study_instance_uid: str, point: MarkedPoint) -> PointAnswer:
        """Answer a click."""
        if self.fails:
            raise self.fails
        finding = finding_at(point.sop_instance_uid, point.row, point.column, malignancy=0.42)
        return PointAnswer(MODEL, finding, SCANNER)

    def attention(self, study_instance_uid: str, point: MarkedPoint, kind: MapName = "attention") -> bytes:
        """A round spot about the place, on a slice of 128 pixels; smaller for the gradient map."""
        if self.fails:
            raise self.fails
        y, x = np.mgrid[0:128, 0:128]
        heat = np.exp(-((y - point.row) ** 2 + (x - point.column) ** 2) / (200.0 if kind == "attention" else 50.0))
        rgba = np.stack([np.full_like(heat, 255), 140 + 0 * heat, 0 * heat, 170 * heat], axis=-1)
        return png_of(rgba.astype(np.uint8))

    def plots(self, model_name: str) -> dict[str, bytes]:
        """One plot of the one model."""
        return {"reliability_before": noise_png()} if model_name == MODEL.name else {}

    def status(self) -> dict[str, object]:
        """A model card."""
        return {**STATUS, "models": [STATUS]} if self.has_model else {"models": []}


def _overlay(shape: tuple[int, ...]) -> bytes:
    rows, columns = shape[:2]
    y, x = np.mgrid[0:rows, 0:columns]
    heat = np.exp(-(((y - rows * 0.45) / (rows * 0.14)) ** 2 + ((x - columns * 0.7) / (columns * 0.14)) ** 2))
    rgba = np.stack([np.full_like(heat, 255), 200 * (1 - heat * 0.7), 60 * (1 - heat), 255 * heat], axis=-1)
    return png_of(rgba.astype(np.uint8))


@dataclass
class VolumeImages:
    """Slices of volumes in memory, feet to head, in standard axial orientation."""

    volumes: dict[tuple[str, str], tuple[NDArray[np.int16], tuple[str, ...], tuple[float, float, float]]] = field(
        default_factory=dict
    )

    def slices(self, study_instance_uid: str, series_instance_uid: str) -> tuple[SliceReference, ...]:
        """The series' slices, head to feet."""
        if (study_instance_uid, series_instance_uid) not in self.volumes:
            return ()
        volume, sop_uids, (dz, dy, dx) = self.volumes[study_instance_uid, series_instance_uid]
        return tuple(
            SliceReference(
                sop_instance_uid=sop_uids[index],
                frame_number=1,
                instance_number=index + 1,
                position_mm=(-170.0, -170.0, index * dz),
                rows=volume.shape[1],
                columns=volume.shape[2],
                row_spacing_mm=dy,
                column_spacing_mm=dx,
                orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            )
            for index in reversed(range(len(volume)))
        )


class NoFiles:
    """A store where nothing can be read."""

    def check(self, paths: Sequence[str]) -> None:
        """Find nothing damaged."""

    def documents(self, paths: Sequence[str], urls: Sequence[str]) -> Iterator[str | None]:
        """None of them."""
        return iter([None] * len(paths))

    def frame(self, path: str, frame_number: int, *, stored: bool) -> None:
        """There is no frame."""

    def part10_file(self, path: str, transfer_syntax_uid: str) -> NoReturn:
        """There is no file."""
        raise UnfitInputError(422, "unreadable", "The images cannot be decoded.")

    def uncompressed(self, path: str) -> NoReturn:
        """There is no file."""
        raise UnfitInputError(422, "unreadable", "The images cannot be decoded.")

    def rendered(self, path: str, frame_number: int, rendering: RenderOptions) -> None:
        """There is no frame."""

    def bulk(self, path: str, element_path: Sequence[str]) -> NoReturn:
        """There is no value."""
        raise UnfitInputError(422, "unreadable", "The images cannot be decoded.")


@dataclass
class FixedIntake:
    """Takes any zip for the same study."""

    study_instance_uid: str = "1.2.3.4"
    fails: Exception | None = None
    already_stored: int = 0
    left_out: tuple[LeftOutFiles, ...] = ()
    taken: list[tuple[int, str]] = field(default_factory=list)

    def open_instance(self, *, actor: str, study_instance_uid: str) -> NoReturn:
        """No single instance."""
        raise UnfitInputError(503, "unavailable", "Nothing is taken in.")

    def store_zip(self, content: bytes | mmap, *, actor: str) -> AcceptedStudy:
        """Count it."""
        if self.fails:
            raise self.fails
        self.taken.append((len(content), actor))
        return AcceptedStudy(self.study_instance_uid, 12, self.already_stored, self.left_out)


OPINIONS: dict[str, object] = {
    "opinions": {
        "planar": {"probability": 0.41, "margin": -0.4, "displayed": {"bounds": "25 to 60 %"}},
        "volumetric": {"probability": 0.62, "margin": 0.5, "displayed": {"bounds": "43 to 78 %"}},
    },
    "doubts": ["the 2D and the 3D networks disagree"],
}
"""Attributes that the model records where its networks disagree."""


def shown_share(share: float, question: Question = Question.MALIGNANCY, n: int = 34) -> DisplayedProbability:
    """Displayed probability for such a share of positives among ``n`` calibration cases."""
    k = round(share * n)
    return DisplayedProbability(*displayed_limits(k, n), n, k, question, "test")


def finding_at(
    sop_instance_uid: str,
    row: float,
    column: float,
    *,
    malignancy: float | None = 0.73,
    diameter_mm: float = 12.4,
    position_mm: tuple[float, float, float] = (-40.0, 12.0, 30.0),
) -> NewFinding:
    """A finding with everything a model says."""
    shown = {Question.NODULE: shown_share(0.93, Question.NODULE)}
    if malignancy is not None:
        shown[Question.MALIGNANCY] = shown_share(malignancy)
    bounds = shown.get(Question.MALIGNANCY)
    reasons = () if malignancy is not None else (Reason("small", "Too small for the malignancy model."),)
    return NewFinding(
        sop_instance_uid=sop_instance_uid,
        frame_number=1,
        row=row,
        column=column,
        position_mm=position_mm,
        diameter_mm=diameter_mm,
        nodule_probability=0.93,
        malignancy_probability=malignancy,
        interval=(bounds.low, bounds.high) if bounds else None,
        prediction_set=("malignant",) if malignancy and malignancy > 0.5 else ("benign", "malignant"),
        reasons=reasons,
        attributes={
            "density": "solid",
            "volume_mm3": 998.0,
            "displayed": {question.value: one.to_json() for question, one in shown.items()},
            **(OPINIONS if malignancy is not None else {}),
        },
    )


@dataclass(frozen=True)
class Study:
    """A study that stands in the database."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    series_id: str


def open_database(folder: Path) -> Database:
    """The database of that folder."""
    return Database(f"sqlite:///{folder / DATABASE_FILE}", audit_key=bytes(32))


def new_database(folder: Path) -> Database:
    """A migrated SQLite database."""
    migrate_sqlite(folder / DATABASE_FILE)
    return open_database(folder)


def add_study(
    database: Database,
    *,
    slices: int = 3,
    name: str = "Doe^Jane",
    patient_id: str = "PID-1",
    description: str = "CT chest",
    birth_date: str = "19610215",
    study_date: str = "20260114",
    is_stat: bool = False,
) -> Study:
    """Receive a study."""
    study_uid, series_uid, sop_uids = uid(), uid(), tuple(uid() for _ in range(slices))
    with database.begin() as session:
        for number, sop_uid in enumerate(sop_uids):
            record_instance(
                session,
                ReceivedInstance(
                    sop_instance_uid=sop_uid,
                    sop_class_uid=CT,
                    transfer_syntax_uid=EXPLICIT,
                    study_instance_uid=study_uid,
                    series_instance_uid=series_uid,
                    patient=PatientAttributes(patient_id, name=name, birth_date=birth_date, sex="F"),
                    path=f"{number}",
                    size_bytes=1,
                    sha256=hashlib.sha256(sop_uid.encode()).hexdigest(),
                    modality="CT",
                    study_date=study_date,
                    is_stat=is_stat,
                    study_description=description,
                    accession_number="A-4711",
                    series_number=2,
                    series_description="Thin 1.0 lung",
                    instance_number=number + 1,
                ),
            )
        series = series_record(session, series_instance_uid=series_uid)
    assert series is not None
    return Study(study_uid, series_uid, sop_uids, series.id)


def finish(
    database: Database, study: Study, findings: Sequence[NewFinding] = (), reasons: Sequence[Reason] = ()
) -> str:
    """Analyse a study as the worker does; returns the analysis' id."""
    with database.begin() as session:
        record = analyses.request_analysis(session, study.series_id, MODEL, requested_by="system")
    with database.begin() as session:
        analyses.start_analysis(session, record.id)
    with database.begin() as session:
        analyses.complete_analysis(session, record.id, AnalysisOutcome(tuple(findings), tuple(reasons)))
    return record.id


def put_in_state(database: Database, study: Study, state: StudyState) -> None:
    """Bring a received study into a state by the way that the node takes."""
    if state is StudyState.RECEIVING:
        return
    if state in (StudyState.ANALYSED, StudyState.NOT_ANALYSED):
        reasons = (
            (Reason("few_slices", "Fewer slices than the model needs."),) if state is StudyState.NOT_ANALYSED else ()
        )
        finish(database, study, reasons=reasons)
        return
    with database.begin() as session:
        record = analyses.request_analysis(session, study.series_id, MODEL, requested_by="system")
        if state is not StudyState.QUEUED:
            analyses.start_analysis(session, record.id)
        if state is StudyState.FAILED:
            analyses.fail_analysis(session, record.id, Reason("timeout", "The analysis took too long."))
