"""Shadow mode: a second model analyses the same series after the live one, at the lowest priority.

Due series follow from the database alone, so a run that is killed is repeated, and one that fails is recorded
as failed: it blocks nothing and is not repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from db.analyses import analyses
from db.analyses import shadow as shadow_records
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.models import ModelIdentity
from db.engine.session import now
from dicom_node.jobs.analysis_process import AnalysisInterruptedError, AnalysisProcessError, ModelUnavailableError
from dicom_node.series.types import StoredInstance

_log = logging.getLogger(__name__)

MAX_AGE = timedelta(days=1)
"""Series answered within this time are run: a worker that was down catches up, but not indefinitely."""
MIN_AGE = timedelta(seconds=10)
"""Minimum age: the live answer's result objects are made and sent first."""
UNAVAILABLE_PAUSE_S = 600.0


class ShadowProcess(Protocol):
    """Process that runs the shadow model (``AnalysisProcess``)."""

    def start(self) -> ModelIdentity:
        """Load the models unless loaded; may raise ``ModelUnavailableError``."""
        ...

    def analyse(self, instances: Sequence[StoredInstance]) -> AnalysisOutcome:
        """Analyse one series, or raise ``AnalysisProcessError``."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


class ShadowRuns:
    """Runs of one shadow model.

    Parameters
    ----------
    database
        The records.
    locate
        Gives stored files here (``Files.fetch``).
    make_process
        Makes a process with the second model; it lives only while series are due.
    """

    def __init__(
        self,
        database: Database,
        fetch: Callable[[Sequence[str]], Sequence[Path]],
        make_process: Callable[[], ShadowProcess],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._fetch = fetch
        self._make_process = make_process
        self._clock = clock
        self._model: ModelIdentity | None = None
        self._not_before_s = 0.0
        self._process: ShadowProcess | None = None

    def run_due(self) -> int:
        """Analyse due series one by one while no analysis of the live model waits; return their number."""
        if self._clock() < self._not_before_s or not self._may_go_on():
            return 0
        try:
            return self._run_due()
        except ModelUnavailableError:
            _log.error("shadow:model_unavailable", extra={"code": ModelUnavailableError.reason.code})
            self._not_before_s = self._clock() + UNAVAILABLE_PAUSE_S
        except AnalysisInterruptedError:
            _log.info("shadow:interrupted")
        finally:
            self.close()
        return 0

    def close(self) -> None:
        """End the process, also from another thread."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _run_due(self) -> int:
        if self._model is None:
            self._model = self._started().start()
        with self._database.read() as session:
            moment = now(session)
            due = shadow_records.without_shadow_run(session, self._model, moment - MAX_AGE, moment - MIN_AGE)
        count = 0
        for analysis_id in due:
            if count and not self._may_go_on():
                break
            self._run_one(analysis_id, self._model)
            count += 1
        return count

    def _run_one(self, analysis_id: str, model: ModelIdentity) -> None:
        process = self._started()
        with self._database.read() as session:
            records = analyses.analysis_instances(session, analysis_id)
        paths = self._fetch([record.path for record in records])
        instances = [StoredInstance(record.sop_instance_uid, path) for record, path in zip(records, paths, strict=True)]
        try:
            outcome = process.analyse(instances)
        except (AnalysisInterruptedError, ModelUnavailableError):
            raise
        except AnalysisProcessError as error:
            outcome = AnalysisOutcome(reasons=(error.reason,))
        with self._database.begin() as session:
            shadow_records.record_shadow_run(session, analysis_id, model, outcome)
        _log.info("shadow:done", extra={"analysis_id": analysis_id, "finding_count": len(outcome.findings)})

    def _started(self) -> ShadowProcess:
        if self._process is None:
            self._process = self._make_process()
        return self._process

    def _may_go_on(self) -> bool:
        with self._database.read() as session:
            return not analyses.pending_analyses(session)
