"""Main loop of the worker: detects complete series, requests analyses, drives the queue and deliveries."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from db.analyses import analyses, scheduling
from db.database import Database
from db.domain.analyses import AnalysisRecord
from db.domain.errors import DatabaseUnavailableError
from db.domain.models import ModelIdentity
from db.domain.studies import SeriesRecord
from db.intake import priors
from db.studies.instances import receiving_series

_log = logging.getLogger(__name__)

REQUESTED_BY = "system"


Submit = Callable[[AnalysisRecord, datetime], str]
"""Enqueues an analysis with its due time durably, once; returns the name of its workflow."""


@dataclass(slots=True)
class _Observation:
    """Last observed state of a series, and since when, on the monotonic clock."""

    news: tuple[int, object]
    since_s: float


class QuietWatch:
    """Detects series that receive no more instances.

    The time of the database's clock is compared with itself only; the waiting is measured on a monotonic clock, so that
    a clock that is set neither ends nor prolongs it.
    """

    def __init__(self, quiet_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet_s = quiet_s
        self._clock = clock
        self._observations: dict[str, _Observation] = {}

    def quiet(self, receiving: Iterable[SeriesRecord]) -> tuple[SeriesRecord, ...]:
        """Return the complete series among those receiving, at every call until they change."""
        now_s = self._clock()
        observations: dict[str, _Observation] = {}
        complete = []
        for series in receiving:
            news = (series.instance_count, series.last_received_at)
            previous = self._observations.get(series.id)
            entry = previous if previous is not None and previous.news == news else _Observation(news, now_s)
            observations[series.id] = entry
            if series.is_forced or now_s - entry.since_s >= self._quiet_s:
                complete.append(series)
        self._observations = observations
        return tuple(complete)


def quiet_studies(
    receiving: Iterable[SeriesRecord], complete: Iterable[SeriesRecord]
) -> tuple[tuple[SeriesRecord, ...], ...]:
    """Return the complete series by study: of studies that receive no other series, and those marked as complete."""
    by_study: dict[str, list[SeriesRecord]] = {}
    for series in complete:
        by_study.setdefault(series.study_instance_uid, []).append(series)
    complete_ids = {series.id for group in by_study.values() for series in group}
    busy = {series.study_instance_uid for series in receiving if series.id not in complete_ids}
    ready = (
        tuple(series for series in group if series.is_forced or study_uid not in busy)
        for study_uid, group in by_study.items()
    )
    return tuple(group for group in ready if group)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Intervals of the worker.

    Parameters
    ----------
    quiet_s
        A series is complete after this many seconds without a new instance; it is analysed once all of its study are.
    poll_s
        Pause between two looks at the records, seconds.
    deliver_s
        Pause between two rounds of deliveries, seconds.
    resubmit_s
        A pending analysis is submitted again (which changes nothing where it is queued) after so many seconds.
    """

    quiet_s: float
    poll_s: float = 0.5
    deliver_s: float = 5.0
    resubmit_s: float = 60.0


class Worker:
    """Main loop; every decision is stored in the database, so that it may be killed at any moment.

    Parameters
    ----------
    database
        The records.
    model
        Identity of the models that will answer.
    submit
        Enqueues an analysis.
    deliver_due
        Delivers result objects that are due; may be slow, runs in a thread of its own.
    made
        Set where result objects were made, which are delivered at once then.
    """

    def __init__(
        self,
        database: Database,
        model: ModelIdentity,
        submit: Submit,
        *,
        deliver_due: Callable[[], object],
        config: WorkerConfig,
        results_ready: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._model = model
        self._submit = submit
        self._deliver_due = deliver_due
        self._results_ready = results_ready or threading.Event()
        self._config = config
        self._clock = clock
        self._watch = QuietWatch(config.quiet_s, clock)
        self._submitted: dict[str, float] = {}

    def use(self, model: ModelIdentity) -> None:
        """Request analyses by another model from now on."""
        self._model = model

    def run(self, stop: threading.Event) -> None:
        """Poll until ``stop`` is set."""
        deliveries = threading.Thread(target=self._deliver, args=(stop,), name="deliveries", daemon=True)
        deliveries.start()
        while not stop.is_set():
            log_and_continue("worker:look", self.poll)
            stop.wait(self._config.poll_s)
        self._results_ready.set()  # the thread sees then that it is to end
        deliveries.join(timeout=5)

    def poll(self) -> None:
        """Request analyses of studies that are quiet, and submit pending ones."""
        with self._database.read() as session:
            receiving = receiving_series(session)
        for series in quiet_studies(receiving, self._watch.quiet(receiving)):
            self._request(series)
        self._submit_pending()

    def _request(self, observed: Sequence[SeriesRecord]) -> None:
        """Request the analyses of a study's complete series together, unless an instance arrived meanwhile."""
        with self._database.begin() as session:
            now = {each.id: each for each in receiving_series(session, observed[0].study_instance_uid)}
            complete = [each for each in observed if each.id in now]  # the others another worker has requested
            is_forced = all(each.is_forced for each in observed)
            has_grown = any(now[each.id].instance_count != each.instance_count for each in complete)
            if has_grown or (len(complete) < len(now) and not is_forced):
                return
            records = [
                analyses.request_analysis(session, each.id, self._model, requested_by=REQUESTED_BY)
                for each in complete
                if not priors.set_aside(session, each.id, each.study_instance_uid)
            ]
        for record in records:
            _log.info(
                "series:complete",
                extra={
                    "series_id": record.series_id,
                    "analysis_id": record.id,
                    "instance_count": record.instance_count,
                },
            )

    def _submit_pending(self) -> None:
        """Submit pending analyses, each with its due time."""
        with self._database.read() as session:
            pending = analyses.pending_analyses(session)
            self._submitted = {
                record.id: self._submitted[record.id] for record in pending if record.id in self._submitted
            }
            to_submit = [record for record in pending if self._is_to_submit(record)]
            due = scheduling.due_times(session, pending) if to_submit else {}
        for record in to_submit:
            self._submit(record, due[record.id])
            self._submitted[record.id] = self._clock()

    def _is_to_submit(self, record: AnalysisRecord) -> bool:
        last_s = self._submitted.get(record.id)
        return last_s is None or self._clock() - last_s >= self._config.resubmit_s

    def _deliver(self, stop: threading.Event) -> None:
        while True:
            self._results_ready.wait(self._config.deliver_s)
            self._results_ready.clear()
            if stop.is_set():
                return
            log_and_continue("worker:deliver", self._deliver_due)


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """An action that is repeated until the service ends."""

    name: str
    every_s: float
    action: Callable[[], object]
    first_s: float | None = None
    """Pause before the first time; as long as the others by default."""

    def start(self, stop: threading.Event) -> None:
        """Run in a thread of its own."""
        threading.Thread(target=self.run, args=(stop,), name=self.name, daemon=True).start()

    def run(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set, first after one pause."""
        pause_s = self.every_s if self.first_s is None else self.first_s
        while not stop.wait(pause_s):
            log_and_continue(self.name, self.action)
            pause_s = self.every_s


def with_advisory_lock(database: Database, name: str, action: Callable[[], object]) -> Callable[[], object]:
    """Wrap an action so that only one host runs it at a time; it does nothing on the others."""

    def locked_action() -> object:
        with database.advisory_lock(name) as is_ours:
            return action() if is_ours else None

    return locked_action


def log_and_continue(event: str, action: Callable[[], object]) -> None:
    """Run an action and log what it raises."""
    try:
        action()
    except DatabaseUnavailableError:
        _log.warning(f"{event}_waits", extra={"code": "database_unavailable"})
    except Exception:  # noqa: BLE001 - the worker loop's own boundary
        _log.exception(f"{event}_failed")
