"""Durable DBOS workflows: one for each analysis, and one for its result objects.

The only module that knows DBOS. Its system database holds opaque ids and verdicts, as JSON and never pickled; what an
analysis is, and whether it is finished, stands in the records. So the two cannot contradict each other: a workflow that
was lost is submitted again, one that runs twice finds the first outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetEnqueueOptions, SetWorkflowID

from db.domain.analyses import AnalysisRecord
from db.domain.reasons import Reason
from dicom_node.jobs.attempts import Attempt

APPLICATION_VERSION = "analysis-1"
"""Pinned: work that an older release left is taken up by a newer one. Changes only with the order of the steps."""
QUEUE = "analyses"
RESULTS_QUEUE = "results"
"""Result objects are made from a queue of its own, so that an answered analysis gives its place to the next at once."""
WORKFLOW = "analyse_series"
MAX_FAILED_ATTEMPTS = 3
"""Failed attempts after which an analysis fails."""
RETRY_DELAYS_S = (2.0, 10.0)
"""Pauses between attempts to make result objects."""
INTERRUPTED_DELAY_S = 5.0
"""Pause where it was not the analysis that failed."""
RETRY_AFTER = timedelta(hours=1)
"""Delay of a further attempt: it waits behind what is queued by now, but not indefinitely."""
STRAY_S = 15.0
"""A workflow taken by this worker begins within milliseconds; one that has not begun for so long never will."""
_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
_UNFINISHED = frozenset({"ENQUEUED", "PENDING", "DELAYED"})
_MAX_GENERATIONS = 1000
_RESULTS = "-results"
"""End of the name of a workflow that makes result objects."""

Run = Callable[[str], tuple[Attempt, Reason | None]]


@dataclass(frozen=True, slots=True)
class WorkflowConfig:
    """Configuration of the workflows.

    Parameters
    ----------
    url
        System database: ``sqlite:///file`` or ``postgresql://...``.
    executor_id
        Fixed name of this worker; interrupted work returns to the worker of the same name.
    version
        Work is taken up by workers of the same one; it outlives releases.
    concurrency
        Analyses at once, and so many more whose result objects are made; the queues' own, so the same for all workers
        that share them.
    retry_delays_s
        Pauses between attempts to make result objects, seconds.
    poll_s
        How often the queue is looked at, seconds.
    """

    url: str
    executor_id: str
    version: str = APPLICATION_VERSION
    concurrency: int = 1
    retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S
    interrupted_delay_s: float = INTERRUPTED_DELAY_S
    poll_s: float = 0.5


@dataclass(frozen=True, slots=True)
class AnalysisSteps:
    """Steps of the workflow; each is idempotent, as it may be repeated after a crash.

    Parameters
    ----------
    run
        One attempt at an analysis.
    fail
        Mark it as failed, with the reason.
    make_results
        Make the result objects of an answered analysis and ask for their delivery; False where that failed.
    """

    run: Run
    fail: Callable[[str, Reason], None]
    make_results: Callable[[str], bool]


class AnalysisWorkflows:
    """Durable queue of analyses; one per process, as DBOS is."""

    def __init__(self, config: WorkflowConfig, steps: AnalysisSteps) -> None:
        self._config = config
        self._steps = steps
        self._running: set[str] = set()
        self._strays: dict[str, float] = {}

    def launch(self) -> None:
        """Open the system database and resume the unfinished work of an earlier process of this name."""
        DBOS(config=_dbos_config(self._config))

        def analyse(root: str, analysis_id: str, failures: int) -> str:
            name = _attempt_id(root, failures)
            self._running.add(name)
            try:
                return self._analyse(root, analysis_id, failures)
            finally:
                self._running.discard(name)

        self._workflow = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(analyse)
        DBOS.launch()
        for queue in (QUEUE, RESULTS_QUEUE):
            DBOS.register_queue(
                queue,
                worker_concurrency=self._config.concurrency,
                polling_interval_sec=self._config.poll_s,
                on_conflict="always_update",
            )

    def close(self) -> None:
        """Stop taking work; workflows in progress stay pending until the next launch."""
        DBOS.destroy(destroy_registry=True)

    def resume(self, executor_ids: Sequence[str]) -> int:
        """Return to the queue what dead workers had started, and return how many workflows that were.

        Several may do so at once: what a living worker has taken meanwhile bears its name and is left alone.
        """
        return len(DBOS._recover_pending_workflows(list(executor_ids)))  # noqa: SLF001 (nothing public does it)

    def resume_strays(self) -> int:
        """Return to the queue what bears this worker's name but does not run here; return how many.

        So it happens where the database dies after it noted who takes a workflow and before it could say so.
        """
        pending = DBOS.list_workflows(
            status="PENDING", executor_id=self._config.executor_id, load_input=False, load_output=False
        )
        now_s = time.monotonic()
        idle = {status.workflow_id: status.queue_name for status in pending if status.workflow_id not in self._running}
        self._strays = {name: self._strays.get(name, now_s) for name in idle}
        strays = [name for name, since_s in self._strays.items() if now_s - since_s >= STRAY_S]
        for name in strays:
            DBOS.resume_workflow(name, queue_name=idle[name] or QUEUE)
            del self._strays[name]
        return len(strays)

    def submit(self, analysis: AnalysisRecord, due: datetime) -> str:
        """Enqueue an analysis unless enqueued already, and return its workflow's id.

        What is due first is taken first.

        Workflows that ended while their analysis did not (the records were restored from a backup) are followed by
        those of the next generation.
        """
        name = workflow_id(analysis)
        for generation in range(_MAX_GENERATIONS):
            root = f"{name}-{generation}" if generation else name
            states = [self._state(_attempt_id(root, failures)) for failures in range(MAX_FAILED_ATTEMPTS)]
            if states[0] is None:
                self._enqueue(root, analysis.id, due, failures=0)
                return root
            if any(state in _UNFINISHED for state in states):
                return root
        raise RuntimeError("an analysis ended too often without an outcome")

    def _state(self, identifier: str) -> str | None:
        status = DBOS.get_workflow_status(identifier)
        return None if status is None else str(status.status)

    def _enqueue(self, root: str, analysis_id: str, due: datetime, *, failures: int) -> None:
        """Enqueue one attempt."""
        with SetWorkflowID(_attempt_id(root, failures)), SetEnqueueOptions(priority=_priority(due)):
            DBOS.enqueue_workflow(QUEUE, self._workflow, root, analysis_id, failures)

    def _analyse(self, root: str, analysis_id: str, failures: int) -> str:
        """Make one attempt, then request results, enqueue the next attempt or fail. Deterministic."""
        verdict, code, text = DBOS.run_step({"name": "attempt"}, self._attempt, analysis_id)
        while verdict == Attempt.INTERRUPTED:
            DBOS.sleep(self._config.interrupted_delay_s)
            verdict, code, text = DBOS.run_step({"name": "attempt"}, self._attempt, analysis_id)
        if verdict == Attempt.ANSWERED:
            self._results(root, analysis_id)
        elif verdict == Attempt.FAILED and failures + 1 < MAX_FAILED_ATTEMPTS:
            self._enqueue(root, analysis_id, datetime.now(UTC) + RETRY_AFTER, failures=failures + 1)
        elif verdict == Attempt.FAILED:
            DBOS.run_step({"name": "fail"}, self._fail, analysis_id, code, text)
        return str(verdict)

    def _results(self, root: str, analysis_id: str) -> None:
        """Enqueue the workflow of the result objects, or, within it, make them.

        That workflow is one more attempt at an answered analysis, recognized by its name alone. So a release that
        makes results at the end of each analysis can take up either at any step, and this one what that left.
        """
        make = self._steps.make_results if root.endswith(_RESULTS) else partial(self._enqueue_results, root)
        for pause_s in (*self._config.retry_delays_s, None):
            if DBOS.run_step({"name": "results"}, make, analysis_id) or pause_s is None:
                return
            DBOS.sleep(pause_s)

    def _enqueue_results(self, root: str, analysis_id: str) -> bool:
        """Enqueue the workflow that makes result objects, unless enqueued already."""
        name = root + _RESULTS

        def enqueue() -> None:
            with SetWorkflowID(_attempt_id(name, 0)):
                DBOS.enqueue_workflow(RESULTS_QUEUE, self._workflow, name, analysis_id, 0)

        with ThreadPoolExecutor(1) as executor:  # of the step, in which nothing can be enqueued
            executor.submit(enqueue).result()
        return True

    def _attempt(self, analysis_id: str) -> list[str]:
        verdict, reason = self._steps.run(analysis_id)
        return [verdict.value, reason.code if reason else "", reason.text if reason else ""]

    def _fail(self, analysis_id: str, code: str, text: str) -> None:
        failure = Reason(
            code, "Failed after {attempts} attempts. {reason}".format(attempts=MAX_FAILED_ATTEMPTS, reason=text)
        )
        self._steps.fail(analysis_id, failure)


def workflow_id(analysis: AnalysisRecord) -> str:
    """Return an analysis' workflow id: series, input, model and run, all opaque."""
    return f"{analysis.series_id}-{analysis.input_digest[:16]}-{analysis.model.sha256[:16]}-{analysis.run_number}"


def _priority(due: datetime) -> int:
    """Return seconds since a fixed epoch: DBOS takes the lowest first, from 1 to 2^31 - 1."""
    return min(max(int((due - _EPOCH).total_seconds()), 1), 2**31 - 1)


def _attempt_id(root: str, failures: int) -> str:
    return f"{root}-try{failures + 1}" if failures else root


def _dbos_config(config: WorkflowConfig) -> DBOSConfig:
    """Return DBOS' configuration: no telemetry, no console, no pickles."""
    return {
        "name": "lungnode",
        "system_database_url": config.url,
        "application_version": config.version,
        "executor_id": config.executor_id,
        "enable_otlp": False,
        "log_level": "WARNING",
        "serializer": DBOSPortableJSONSerializer(),
        "use_listen_notify": False,
    }
