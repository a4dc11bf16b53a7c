"""Analysing process: holds the models, is killed on a timeout and replaced when it dies.

The worker that holds the durable queue never runs a model itself: a crash, an exhausted memory or a hang of the
analysis is a failed attempt that is counted, and the next series is not affected.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from db.domain.analyses import AnalysisOutcome
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from db.domain.reconstructions import Reconstruction
from dicom_node.encoding.errors import DicomNodeError
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.series.pipeline import Analyzer, analyse_series
from dicom_node.series.reconstructions import measure_reconstructions
from dicom_node.series.types import StoredInstance
from inference.errors import InferenceError

_log = logging.getLogger(__name__)

MakeAnalyzer = Callable[[], Analyzer]
"""Loads the models; called in the analysing process, so it has to be importable there (a function or a ``partial``)."""


class AnalysisProcessError(DicomNodeError):
    """Base class of failed attempts; ``reason`` holds no dataset values."""

    reason = Reason("analysis_failed", "The analysis failed.")

    def __init__(self, text: str = "") -> None:
        self.reason = Reason(self.reason.code, text or self.reason.text)
        super().__init__(self.reason.text)


class ModelUnavailableError(AnalysisProcessError):
    """The models cannot be loaded."""

    reason = Reason("model_unavailable", "The models cannot be loaded.")


class AnalysisError(AnalysisProcessError):
    """The analysis raised an exception."""


class AnalysisCrashError(AnalysisProcessError):
    """The analysing process died."""

    reason = Reason("analysis_crashed", "The analysing process ended while it worked on this series.")


class AnalysisTimeoutError(AnalysisProcessError):
    """The analysis exceeded its time limit."""

    reason = Reason("analysis_timeout", "The analysis takes longer than is allowed.")


class AnalysisInterruptedError(AnalysisProcessError):
    """The service is shutting down; the attempt does not count."""

    reason = Reason("interrupted", "The analysis was interrupted by a shutdown.")


@dataclass(frozen=True, slots=True)
class AnalysisLimits:
    """Limits of one analysis.

    Parameters
    ----------
    decode
        Limits of the decoding child.
    timeout_s
        Wall-clock time of decoding and analysing one series, seconds.
    start_timeout_s
        Wall-clock time of loading the models, seconds.
    """

    decode: DecodeLimits
    timeout_s: float = 900.0
    start_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True)
class _AnalysisRequest:
    """Request to analyse one series."""

    instances: tuple[StoredInstance, ...]
    overruled: frozenset[str]


@dataclass(frozen=True, slots=True)
class _MeasureRequest:
    """Request to measure series of one study."""

    series: dict[str, tuple[StoredInstance, ...]]
    measured: tuple[Reconstruction, ...]


class AnalysisProcess:
    """One analysing process; one analysis at a time."""

    def __init__(self, make_analyzer: MakeAnalyzer, limits: AnalysisLimits) -> None:
        self._make_analyzer = make_analyzer
        self._limits = limits
        self._child: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._lifeline: Connection | None = None
        self._model: ModelIdentity | None = None
        self._is_closed = False

    def start(self) -> ModelIdentity:
        """Start the process if it does not run, and return the identity of its models.

        Raises
        ------
        ModelUnavailableError
            The models cannot be loaded, or not in time.
        """
        if self._child is None or not self._child.is_alive() or self._model is None:
            self._stop()
            self._spawn()
            reply = self._receive(self._limits.start_timeout_s)
            if not isinstance(reply, ModelIdentity):
                self._stop()
                raise ModelUnavailableError(str(reply))
            self._model = reply
        return self._model

    def analyse(self, instances: Sequence[StoredInstance], overruled: frozenset[str] = frozenset()) -> AnalysisOutcome:
        """Analyse one series, despite the refusals that a radiologist overruled.

        Raises
        ------
        AnalysisProcessError
            There is no outcome; the process is replaced before the next attempt where that is needed.
        """
        reply = self._request(_AnalysisRequest(tuple(instances), overruled))
        if isinstance(reply, AnalysisOutcome):
            return reply
        raise AnalysisError(f"The analysis failed ({reply}).")

    def measure(
        self, series: Mapping[str, Sequence[StoredInstance]], measured: Sequence[Reconstruction]
    ) -> dict[str, Reconstruction]:
        """Measure series of one study besides those already measured (``dicom_node.series.reconstructions``).

        Raises
        ------
        AnalysisProcessError
            They cannot be measured.
        """
        reply = self._request(_MeasureRequest({name: tuple(files) for name, files in series.items()}, tuple(measured)))
        if isinstance(reply, dict):
            return reply
        raise AnalysisError(f"The series of the study cannot be compared ({reply}).")

    def _request(self, request: _AnalysisRequest | _MeasureRequest) -> object:
        self.start()
        try:
            self._send(request)
            return self._receive(self._limits.timeout_s)
        except AnalysisProcessError:
            self._stop()
            raise

    def close(self) -> None:
        """End the process for good; a running analysis raises ``AnalysisInterruptedError``."""
        self._is_closed = True
        if self._child is not None and self._child.is_alive():
            self._child.kill()

    def _spawn(self) -> None:
        if self._is_closed:
            raise AnalysisInterruptedError
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        lifeline, self._lifeline = context.Pipe(duplex=False)
        arguments = (child_pipe, lifeline, self._make_analyzer, self._limits.decode)
        self._child = context.Process(target=_serve, args=arguments, name="lungnode-analysis", daemon=True)
        self._child.start()
        child_pipe.close()
        lifeline.close()

    def _send(self, message: object) -> None:
        try:
            self._connection().send(message)
        except (OSError, ValueError):
            raise self._death() from None

    def _receive(self, timeout_s: float) -> object:
        try:
            if not self._connection().poll(timeout_s):
                raise AnalysisTimeoutError
            return self._connection().recv()
        except (EOFError, OSError):
            raise self._death() from None

    def _connection(self) -> Connection:
        if self._pipe is None:
            raise self._death()
        return self._pipe

    def _death(self) -> AnalysisProcessError:
        return AnalysisInterruptedError() if self._is_closed else AnalysisCrashError()

    def _stop(self) -> None:
        child, self._child, self._model = self._child, None, None
        for pipe in (self._pipe, self._lifeline):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._pipe = self._lifeline = None
        if child is not None:
            child.kill()
            child.join()
            child.close()


class AnalysisPool:
    """One analysing process for each concurrent analysis."""

    def __init__(self, make_analyzer: MakeAnalyzer, limits: AnalysisLimits, size: int = 1) -> None:
        self._processes = [AnalysisProcess(make_analyzer, limits) for _ in range(size)]
        self._idle: queue.SimpleQueue[AnalysisProcess] = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)

    def start(self) -> ModelIdentity:
        """Start all processes; raises ``ModelUnavailableError``."""
        models = [process.start() for process in self._processes]
        return models[0]

    def analyse(self, instances: Sequence[StoredInstance], overruled: frozenset[str] = frozenset()) -> AnalysisOutcome:
        """Analyse one series in an idle process; see ``AnalysisProcess.analyse``."""
        with self._borrowed() as process:
            return process.analyse(instances, overruled)

    def measure(
        self, series: Mapping[str, Sequence[StoredInstance]], measured: Sequence[Reconstruction]
    ) -> dict[str, Reconstruction]:
        """Measure series of one study in an idle process; see ``AnalysisProcess.measure``."""
        with self._borrowed() as process:
            return process.measure(series, measured)

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.close()

    def retire(self) -> None:
        """End each process after its current series; later requests are interrupted, and so retried."""
        processes = [self._idle.get() for _ in self._processes]
        for process in processes:
            process.close()
            self._idle.put(process)

    @contextmanager
    def _borrowed(self) -> Iterator[AnalysisProcess]:
        process = self._idle.get()
        try:
            yield process
        finally:
            self._idle.put(process)


def _serve(pipe: Connection, lifeline: Connection, make_analyzer: MakeAnalyzer, limits: DecodeLimits) -> None:
    """Load the models, then answer requests until the parent ends."""
    _prepare(lifeline)
    with contextlib.suppress(EOFError, OSError):  # of a pipe whose other end is gone with the parent
        _answer_requests(pipe, make_analyzer, limits)


def _answer_requests(pipe: Connection, make_analyzer: MakeAnalyzer, limits: DecodeLimits) -> None:
    try:
        analyzer = make_analyzer()
    except Exception as error:  # noqa: BLE001 - the parent gets the reason; nothing else can be done
        _log.exception("model:unavailable")
        pipe.send(_why_unavailable(error))
        return
    pipe.send(ModelIdentity(analyzer.name, analyzer.version, analyzer.sha256))
    while True:
        pipe.send(_reply(pipe.recv(), analyzer, limits))


def _why_unavailable(error: Exception) -> str:
    """Return why the models cannot be loaded: our own message, else the type of the exception."""
    return str(error) if isinstance(error, InferenceError) else type(error).__name__


def _reply(
    request: _AnalysisRequest | _MeasureRequest, analyzer: Analyzer, limits: DecodeLimits
) -> AnalysisOutcome | dict[str, Reconstruction] | str:
    """Analyse or measure; return only the type of an exception, whose message may hold patient data."""
    try:
        if isinstance(request, _MeasureRequest):
            return measure_reconstructions(request.series, request.measured, analyzer.gate, limits)
        return analyse_series(request.instances, analyzer, limits=limits, overruled=request.overruled)
    except Exception as error:  # noqa: BLE001 - whatever a model raises is a failed attempt
        _log.exception("analysis:raised")
        return type(error).__name__


def _prepare(lifeline: Connection) -> None:
    """Die with the parent, be the first OOM victim, write no core dump, ignore the terminal."""
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("700", encoding="ascii")


def _die_with_parent(lifeline: Connection) -> None:
    """Wait for the end of the pipe that only the parent holds open."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)
