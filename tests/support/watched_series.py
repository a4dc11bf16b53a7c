"""Analysed series in bulk, as patients and scanners differ: for watching drift without thousands of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import insert

from db.database import Database
from db.domain.analyses import AnalysisStatus
from db.domain.findings import FindingOrigin, Verdict
from db.domain.reasons import Reason
from db.domain.studies import StudyState
from db.engine.session import new_id
from db.tables.analyses import AnalysisRow, FindingRow
from db.tables.ground_truth import AssessmentRow, PathologyRow
from db.tables.studies import InstanceRow, PatientRow, SeriesRow, StudyRow
from inference.drift.series_drift import HU_EDGES

Rows = dict[type[Any], list[dict[str, Any]]]
LOCALIZER = Reason("localizer", "The series is a localizer (scout view).")
UNSURE = Reason("nodule_texture", "The image is unlike those that the model was validated on.")
TABLES = (PatientRow, StudyRow, SeriesRow, InstanceRow, AnalysisRow, FindingRow, AssessmentRow, PathologyRow)


@dataclass(frozen=True, slots=True)
class Source:
    """Source of series: scanner and site, and the shifts of series and answers."""

    model: str = "Phantom One"
    kernel: str = "B60f"
    site: str = "PACS"
    shift_hu: float = 0.0
    more_malignant: float = 0.0
    """Added to the log odds of malignancy."""
    rejected: float = 0.1
    """Share of nodules that readers reject."""
    refused: float = 0.1
    judged: float = 0.0
    read_first: float = 0.5
    proven: float = 0.0


@dataclass
class Recorder:
    """Records series straight into the tables; ``count`` of them were."""

    database: Database
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    began: datetime = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
    every: timedelta = timedelta(minutes=3)
    count: int = 0

    def record(self, source: Source, n: int) -> None:
        """Record ``n`` series that were read, and beside them those that were refused."""
        for first in range(0, n, 1000):
            rows: Rows = {table: [] for table in TABLES}
            for _ in range(min(1000, n - first)):
                self._series(rows, source)
            self._write(rows)

    def record_measures(self, *measures: Mapping[str, object]) -> None:
        """Record a series without findings for each of these measures."""
        rows: Rows = {table: [] for table in TABLES}
        for one in measures:
            self._analysis(rows, Source(), self._study(rows), (), one)
        self._write(rows)

    def _write(self, rows: Rows) -> None:
        with self.database.begin() as session:
            for table, values in rows.items():
                if values:
                    session.execute(insert(table), values)

    def _series(self, rows: Rows, source: Source) -> None:
        study = self._study(rows)
        if self.rng.random() < source.refused:
            self._analysis(rows, source, study, (LOCALIZER,), {"acquisition": _acquisition(source, "")})
        measures = {
            "acquisition": _acquisition(source, source.kernel),
            "spacing_mm": [1.0, 0.7, 0.7],
            "summary": summary(self.rng, source.shift_hu),
        }
        series = self._analysis(rows, source, study, (), measures)
        for _ in range(int(self.rng.poisson(1.6))):
            self._finding(rows, source, series)

    def _moment(self) -> datetime:
        return self.began + self.every * self.count

    def _study(self, rows: Rows) -> str:
        self.count += 1
        patient, study, at = new_id(), new_id(), self._moment()
        rows[PatientRow].append(
            {"id": patient, "issuer": "", "patient_id": f"CANARY-{self.count}", "variant": 0, "name": "CANARY^PHI"}
            | {"birth_date": "", "sex": "", "created_at": at}
        )
        rows[StudyRow].append(
            {"id": study, "study_instance_uid": f"1.2.99.{self.count}", "patient_row_id": patient}
            | dict.fromkeys(
                ("study_date", "study_time", "study_description", "accession_number", "referring_physician"), ""
            )
            | {"study_id": "", "search_text": "", "state": StudyState.ANALYSED, "reasons": (), "flags": ()}
            | {"series_count": 1, "instance_count": 1, "finding_count": 0, "received_at": at, "analysed_at": at}
        )
        return study

    def _analysis(
        self, rows: Rows, source: Source, study: str, reasons: Sequence[Reason], measures: Mapping[str, object]
    ) -> dict[str, str]:
        at, number = self._moment(), len(rows[SeriesRow])
        ids = {"study_id": study, "series_id": new_id(), "instance_id": new_id(), "analysis_id": new_id()}
        state = StudyState.NOT_ANALYSED if reasons else StudyState.ANALYSED
        rows[SeriesRow].append(
            {"id": ids["series_id"], "series_instance_uid": f"1.2.98.{self.count}.{number}", "study_id": study}
            | {"series_number": 1, "series_description": "", "modality": "CT", "instance_count": 1, "state": state}
            | {"reasons": tuple(reasons), "is_forced": False, "received_at": at, "last_received_at": at}
        )
        rows[InstanceRow].append(
            {"id": ids["instance_id"], "sop_instance_uid": f"1.2.97.{self.count}.{number}", "sop_class_uid": "1.2"}
            | {"transfer_syntax_uid": "1.2", "series_id": ids["series_id"], "arrival": 1, "path": "x"}
            | {
                "size_bytes": 1,
                "sha256": "0" * 64,
                "calling_ae_title": source.site,
                "peer_address": "",
                "received_at": at,
            }
        )
        rows[AnalysisRow].append(
            {"id": ids["analysis_id"], "series_id": ids["series_id"], "ordinal": 1, "input_digest": "0" * 64}
            | {"instance_count": 1, **MODEL, "run_number": 1, "status": AnalysisStatus.CURRENT}
            | {"reasons": tuple(reasons), "measures": dict(measures), "requested_by": "system", "attempts": 1}
            | {"requested_at": at, "started_at": at, "finished_at": at}
        )
        return ids

    def _finding(self, rows: Rows, source: Source, ids: Mapping[str, str]) -> None:
        nodule, odds = float(self.rng.beta(6, 1.2)), self.rng.normal(-1.5, 1.6)
        malignancy = float(1 / (1 + np.exp(-odds - source.more_malignant)))
        is_doubtful, finding, at = self.rng.random() < 0.05, new_id(), self._moment()
        rows[FindingRow].append(
            {"id": finding, **ids, "ordinal": len(rows[FindingRow]), "origin": FindingOrigin.MODEL, "frame_number": 1}
            | dict.fromkeys(("row_px", "column_px", "x_mm", "y_mm", "z_mm"), 0.0)
            | {"diameter_mm": float(self.rng.lognormal(2, 0.4)), "nodule_probability": nodule, "prediction_set": ()}
            | {"malignancy_probability": None if is_doubtful else malignancy, "attributes": {}, **MODEL}
            | {"reasons": (UNSURE,) if is_doubtful else (), "created_by": "system", "created_at": at}
        )
        if self.rng.random() < source.judged:
            is_nodule = self.rng.random() < nodule * (1 - source.rejected) + 0.02
            verdict = Verdict.ACCEPT if is_nodule else Verdict.REJECT
            rows[AssessmentRow].append(
                {"id": new_id(), "finding_id": finding, "number": 1, "verdict": verdict, "reason": "", "comment": ""}
                | {"reader": "reader", "is_read_first": bool(self.rng.random() < source.read_first), "created_at": at}
            )
        if not is_doubtful and self.rng.random() < source.proven:
            is_malignant = bool(self.rng.random() < 1 / (1 + np.exp(-odds)))
            rows[PathologyRow].append(
                {"id": new_id(), "study_id": ids["study_id"], "finding_id": finding, "x_mm": 0.0, "y_mm": 0.0}
                | {"z_mm": 0.0, "is_malignant": is_malignant, "reported_on": "2026-02-01", "source": "biopsy"}
                | {"imported_by": "system", "imported_at": at}
            )


MODEL = {"model_name": "test-model", "model_version": "1.0.0", "model_sha256": "ab" * 32}


def summary(rng: np.random.Generator, shift_hu: float = 0.0) -> dict[str, object]:
    """Summary of a series, varied between patients: lung by 30 HU, soft tissue by 10, noise by a fifth."""
    lung, soft = rng.normal(-860, 30) + shift_hu, rng.normal(40, 10) + shift_hu
    voxels = np.concatenate([rng.normal(lung, 60, 400), rng.normal(soft, 40, 600)])
    counts = np.histogram(np.clip(voxels, HU_EDGES[0], HU_EDGES[-1] - 1), HU_EDGES)[0]
    return {
        "lung_hu": round(float(lung), 1),
        "soft_hu": round(float(soft), 1),
        "noise_hu": round(float(rng.lognormal(2.5, 0.2)), 2),
        "slice_mm": 1.0,
        "pixel_mm": round(float(rng.normal(0.7, 0.05)), 3),
        "hu_shares": [round(float(share), 5) for share in counts / counts.sum()],
    }


def _acquisition(source: Source, kernel: str) -> dict[str, str]:
    maker, _, model = source.model.partition(" ")
    attributes = {"Manufacturer": maker, "ManufacturerModelName": model, "ConvolutionKernel": kernel}
    return {name: text for name, text in attributes.items() if text}


def rehearsed(database: Database) -> Recorder:
    """Record a day at two sites with three scanners: one that stays, one that drifts, one that is new."""
    recorder = Recorder(database, began=datetime.now(UTC) - timedelta(hours=20), every=timedelta(minutes=2))
    thresholds: dict[str, Any] = {"judged": 0.5, "proven": 0.25}
    recorder.record(Source(site="NORTH", **thresholds), 180)
    recorder.record(Source("Phantom Two", "FC51", "SOUTH", **thresholds), 120)
    recorder.record(
        Source("Phantom Two", "FC51", "SOUTH", shift_hu=60, more_malignant=2.5, rejected=0.5, **thresholds), 40
    )
    recorder.record(Source("Phantom Three", "STANDARD", "SOUTH"), 25)
    return recorder
