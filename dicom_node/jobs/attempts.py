"""One attempt at one analysis: started, executed and recorded; every step may be repeated.

Whether an analysis is finished is stored in the database alone, so that a step that is run twice after a
crash finds the first one's outcome and adds nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from db.analyses import analyses, reconstructions
from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisOutcome, AnalysisRecord, AnalysisStatus
from db.domain.audit import AuditEvent
from db.domain.errors import DatabaseUnavailableError
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.reconstructions import Reconstruction
from dicom_node.jobs.analysis_process import AnalysisInterruptedError, AnalysisProcessError, ModelUnavailableError
from dicom_node.results.objects import ResultsError
from dicom_node.series.types import StoredInstance
from dicom_node.storage.files import StoreUnreachableError
from dicom_node.storage.integrity import REASON

_log = logging.getLogger(__name__)

MAX_BEGUN_ATTEMPTS = 25
"""Attempts without an end after which an analysis fails: something in it ends the whole service each time."""


class Attempt(StrEnum):
    """Outcome of an attempt."""

    ANSWERED = "answered"
    """The analysis has its outcome; results may be made of it."""
    OVER = "over"
    """There is nothing to do: superseded, failed, or asked for again under another model."""
    FAILED = "failed"
    """The attempt failed and counts."""
    INTERRUPTED = "interrupted"
    """Not the analysis failed: a shutdown, a database or store that does not answer, models that cannot be loaded."""


class SeriesAnalyzer(Protocol):
    """Analyses the files of a series (``AnalysisPool``)."""

    def analyse(self, instances: Sequence[StoredInstance], overruled: frozenset[str] = frozenset()) -> AnalysisOutcome:
        """Analyse one series despite overruled refusals, or raise ``AnalysisProcessError``."""
        ...

    def measure(
        self, series: Mapping[str, Sequence[StoredInstance]], measured: Sequence[Reconstruction]
    ) -> dict[str, Reconstruction]:
        """Measure series of a study besides those already measured, or raise ``AnalysisProcessError``."""
        ...


class Attempts:
    """Attempts at the analyses of one database by one model.

    Parameters
    ----------
    database
        The records.
    locate
        Gives stored files here (``Files.fetch``).
    analyzer
        What analyses.
    model
        Its identity; an analysis that was asked of another model is not this one's to answer.
    make_results
        Makes the result objects of an answered analysis and asks for their delivery; idempotent.
    check_files
        Gives those of some stored files that are damaged (``Integrity.damaged``).
    """

    def __init__(
        self,
        database: Database,
        fetch: Callable[[Sequence[str]], Sequence[Path]],
        analyzer: SeriesAnalyzer,
        model: ModelIdentity,
        *,
        make_results: Callable[[str], object],
        check_files: Callable[[Sequence[str]], Sequence[str]] | None = None,
    ) -> None:
        self._database = database
        self._fetch = fetch
        self._current = analyzer, model
        self._make_results = make_results
        self._check_files = check_files

    def use(self, analyzer: SeriesAnalyzer, model: ModelIdentity) -> None:
        """Use another model from the next attempt on."""
        self._current = analyzer, model

    def run(self, analysis_id: str) -> tuple[Attempt, Reason | None]:
        """Make one attempt, and return its outcome with the reason of a failure."""
        try:
            return self._run(analysis_id)
        except (DatabaseUnavailableError, StoreUnreachableError, AnalysisInterruptedError, ModelUnavailableError):
            _log.warning("analysis:interrupted", extra={"analysis_id": analysis_id})
            return Attempt.INTERRUPTED, None
        except AnalysisProcessError as error:
            _log.warning(
                "analysis:attempt_failed", extra={"analysis_id": analysis_id, "reason_code": error.reason.code}
            )
            return Attempt.FAILED, error.reason
        except Exception as error:  # noqa: BLE001 - the worker's own boundary: a bad series must not block the queue
            _log.exception("analysis:attempt_raised", extra={"analysis_id": analysis_id})
            return Attempt.FAILED, Reason(
                "analysis_failed", "The analysis failed ({kind}).".format(kind=type(error).__name__)
            )

    def fail(self, analysis_id: str, reason: Reason) -> None:
        """Mark an analysis as failed with a reason."""
        with self._database.begin() as session:
            is_new = analyses.fail_analysis(session, analysis_id, reason)
            reconstructions.follow(session, analysis_id)
        if is_new:
            _log.error("analysis:failed", extra={"analysis_id": analysis_id, "reason_code": reason.code})

    def results(self, analysis_id: str) -> bool:
        """Make the result objects of an answered analysis; False, logged and audited, where that fails."""
        try:
            self._make_results(analysis_id)
        except ResultsError:  # on record with its reason
            _log.error("results:failed", extra={"analysis_id": analysis_id})
            return False
        except Exception:  # noqa: BLE001 - as in run
            _log.exception("results:failed", extra={"analysis_id": analysis_id})
            self._note_failed_results(analysis_id)
            return False
        return True

    def _note_failed_results(self, analysis_id: str) -> None:
        """Write the failure to the audit trail, unless the database is what failed."""
        try:
            with self._database.begin() as session:
                audit.append(session, AuditEvent("results:failed", "system", analysis_id, "failure"))
        except DatabaseUnavailableError:
            _log.warning("audit:unavailable", extra={"analysis_id": analysis_id})

    def _run(self, analysis_id: str) -> tuple[Attempt, Reason | None]:
        analyzer, model = self._current
        instances = self._instances(analysis_id)  # first: an attempt that the store prevents does not count
        record = self._begin(analysis_id)
        if record.status is not AnalysisStatus.RUNNING:
            return _verdict_of(record), None
        if record.attempts > MAX_BEGUN_ATTEMPTS:
            self.fail(analysis_id, Reason("interrupted", "The service ended at each attempt to analyse this series."))
            return Attempt.OVER, None
        if record.model.sha256 != model.sha256:
            self._hand_over(record, model)
            return Attempt.OVER, None
        if not self._is_chosen(analyzer, analysis_id):
            _log.info("analysis:not_chosen", extra={"analysis_id": analysis_id, "series_id": record.series_id})
            return Attempt.OVER, None
        overruled = frozenset(reason.code for reason in record.overruled)
        outcome = self._damaged_outcome(analysis_id) or analyzer.analyse(instances, overruled)
        with self._database.begin() as session:
            analyses.complete_analysis(session, analysis_id, outcome)
            reconstructions.follow(session, analysis_id)
            completed = analyses.analysis_record(session, analysis_id)
        _log.info("analysis:done", extra={"analysis_id": analysis_id, "finding_count": len(outcome.findings)})
        return _verdict_of(completed), None

    def _is_chosen(self, analyzer: SeriesAnalyzer, analysis_id: str) -> bool:
        """Return whether to make an analysis: of several reconstructions of one acquisition, only of the best."""
        with self._database.read() as session:
            to_measure = reconstructions.to_measure(session, analysis_id)
            measured = reconstructions.measured(session, analysis_id) if to_measure else ()
        if to_measure is None:
            return True
        try:
            series = {each: self._instances(each) for each in to_measure}
            measures = analyzer.measure(series, measured) if series else {}
        except (AnalysisInterruptedError, ModelUnavailableError):
            raise
        except AnalysisProcessError as error:  # each series is then analysed by itself
            _log.warning("series:not_compared", extra={"analysis_id": analysis_id, "reason_code": error.reason.code})
            return True
        with self._database.begin() as session:
            return reconstructions.begin(session, analysis_id, measures)

    def _damaged_outcome(self, analysis_id: str) -> AnalysisOutcome | None:
        """Return the refusal of a series with a damaged file, or None."""
        if self._check_files is None:
            return None
        with self._database.read() as session:
            paths = [record.path for record in analyses.analysis_instances(session, analysis_id)]
        damaged = self._check_files(paths)
        return AnalysisOutcome(reasons=(REASON,), measures={"damaged_files": len(damaged)}) if damaged else None

    def _begin(self, analysis_id: str) -> AnalysisRecord:
        with self._database.begin() as session:
            return analyses.start_analysis(session, analysis_id)

    def _instances(self, analysis_id: str) -> list[StoredInstance]:
        with self._database.read() as session:
            records = analyses.analysis_instances(session, analysis_id)
        paths = self._fetch([record.path for record in records])
        return [StoredInstance(record.sop_instance_uid, path) for record, path in zip(records, paths, strict=True)]

    def _hand_over(self, record: AnalysisRecord, model: ModelIdentity) -> None:
        """Close an analysis requested of another model, and request a new one by the current model.

        A further one even where this model has answered already: it was requested again, and an answer is expected.
        """
        reason = Reason(
            "model_replaced", "The model was replaced before this analysis began; a new analysis was requested."
        )
        with self._database.begin() as session:
            analyses.fail_analysis(session, record.id, reason)
            analyses.request_analysis(
                session,
                record.series_id,
                model,
                requested_by=record.requested_by,
                force=True,
                is_explicit=record.is_explicit,
                overruled=record.overruled,
            )


def _verdict_of(record: AnalysisRecord | None) -> Attempt:
    """Return ``ANSWERED`` for the current analysis of a series, ``OVER`` for a superseded one."""
    is_current = record is not None and record.status is AnalysisStatus.CURRENT
    return Attempt.ANSWERED if is_current else Attempt.OVER
