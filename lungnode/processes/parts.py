"""The three parts of the service (listener, worker, web), each run in a child process."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from dicom_node.sandbox.parallel import die_with_parent
from lungnode.errors import LungnodeError
from lungnode.settings.service import Settings
from lungnode.wiring import base as wiring
from lungnode.wiring import models as wiring_models
from lungnode.wiring import port as wiring_port
from lungnode.wiring import web as wiring_web
from lungnode.wiring import worker as wiring_worker

if TYPE_CHECKING:
    from db.domain.models import ModelIdentity
    from dicom_node.jobs.analysis_process import AnalysisPool, MakeAnalyzer
    from dicom_node.port.shared_socket import Port

_log = logging.getLogger(__name__)

Address = dict[str, str | int]
Announce = Callable[[Address], None]

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
MODELS_S = 5.0
"""Seconds between checks for a promoted model."""
SHADOW_S = 5.0
"""Seconds between checks for series to run the shadow model on."""
COUNTS_S = 5.0
"""Seconds between writes of the listener's counters."""


class PartName(StrEnum):
    """Parts of the service, in starting order."""

    DICOM = "dicom"
    WORKER = "worker"
    WEB = "web"


class PartError(LungnodeError):
    """A part cannot start; ``code`` is stable."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def run_part(
    name: PartName,
    settings: Settings,
    make_analyzer: MakeAnalyzer,
    pipe: Connection,
    parent: int,
    port: Port | None = None,
) -> None:
    """Run one part as a child of ``parent``; never returns. The listener gets its bound port.

    The parent is sent ``("ready", address)`` once, or ``("failed", code, text)``.
    """
    from lungnode.logs import configure_logging

    configure_logging(settings.log.level, settings.log.format)
    die_with_parent(parent)
    stop, is_ready = threading.Event(), threading.Event()

    def on_stop(*_: object) -> None:
        set_from_handler(stop)
        if not is_ready.is_set():
            raise SystemExit(0)  # not ready yet: do not wait until the models are loaded

    def announce(address: Address) -> None:
        is_ready.set()
        pipe.send(("ready", address))

    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # blocked by the parent until handlers are installed
    status = 1
    try:
        run = _PARTS[name] if port is None else partial(run_dicom, port)
        run(settings, make_analyzer, announce, stop)
        status = 0
    except SystemExit:
        status = 0
    except PartError as error:
        pipe.send(("failed", error.code, str(error)))
    except Exception as error:  # noqa: BLE001 - the process ends here; parent and log get the error
        _log.exception("part:crashed")
        pipe.send(("failed", "crashed", f"{name}: {type(error).__name__}; see the log"))
    finally:
        logging.shutdown()
        os._exit(status)  # do not wait for threads of libraries


def set_from_handler(event: threading.Event) -> None:
    """Set an event from a signal handler.

    The handler runs on the main thread, which may hold the event's lock at that moment: in ``wait``, or in ``set`` for
    the signal before. Another thread sets it, started without the locks of ``threading``.
    """
    _thread.start_new_thread(event.set, ())


def run_dicom(port: Port, settings: Settings, _make: MakeAnalyzer, announce: Announce, stop: threading.Event) -> None:
    """Run the DICOM listener; the first process also runs the commitment service."""
    import pydicom.config

    from dicom_node.jobs.worker import PeriodicTask
    from dicom_node.services.storage_service import start_listener
    from lungnode.monitoring.listener_metrics import CountsFile

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # of each UID proposed, four times over
    database = wiring.open_database(settings)
    with wiring.open_store(settings) as store:
        intake = wiring.build_intake(settings, store, database)
        services = wiring_port.port_services(settings, database, store)
        try:
            listening = wiring_port.listener_settings(settings)
        except OSError as error:
            text = f"the files of LUNGNODE_DICOM__TLS__... cannot be used ({error.strerror or type(error).__name__})"
            raise PartError("tls_files", text) from None
        listener = start_listener(listening, intake, services, port)
        if port.number == 0:
            threading.Thread(target=services.commitment.run, args=(stop,), name="commitments", daemon=True).start()
        counts = CountsFile(settings.home / "run", listener.counters)
        PeriodicTask("counts", COUNTS_S, counts.write).start(stop)
        address: Address = {"host": settings.dicom.host, "port": listener.port, "ae_title": settings.dicom.ae_title}
        announce(address | ({"tls": 1} if settings.dicom.tls.certificate else {}))
        stop.wait()
        counts.remove()
        listener.stop()
    database.dispose()


def run_web(settings: Settings, _make: MakeAnalyzer, announce: Announce, stop: threading.Event) -> None:
    """Run the web server."""
    from dicom_node.jobs.worker import PeriodicTask
    from webapp.http.server import make_server

    web = wiring_web.Web(settings)
    try:
        server = make_server(web.app, settings.web.host, settings.web.port, web.options)
    except OSError as error:
        raise cannot_listen("WEB", settings.web.host, settings.web.port, error) from None
    threading.Thread(target=server.run, name="web", daemon=True).start()
    PeriodicTask("models", MODELS_S, web.predictor.refresh).start(stop)
    announce({"host": settings.web.host, "port": int(server.effective_port)})
    stop.wait()
    server.close()
    web.close()


def run_worker(settings: Settings, make_analyzer: MakeAnalyzer, announce: Announce, stop: threading.Event) -> None:
    """Run the analysis worker and the delivery of results."""
    from dicom_node.jobs.analysis_process import ModelUnavailableError
    from dicom_node.jobs.attempts import Attempts
    from dicom_node.jobs.liveness import HEARTBEAT_S
    from dicom_node.jobs.worker import PeriodicTask, Worker, WorkerConfig, with_advisory_lock
    from dicom_node.jobs.workflow import AnalysisSteps, AnalysisWorkflows
    from dicom_node.storage.integrity import Integrity

    database = wiring.open_database(settings)
    store = wiring.open_store(settings)
    live = wiring_models.build_live_pool(settings, database, store, make_analyzer)
    try:
        pool, model = live.start()
    except ModelUnavailableError as error:
        text = (
            f"the models cannot be loaded ({error.reason.text.rstrip('.')}): check LUNGNODE_MODEL__BUNDLE and "
            "LUNGNODE_MODEL__DEVICE"
        )
        raise PartError("model_unavailable", text) from None
    maker, results_ready = wiring_worker.build_result_maker(settings, database, store), threading.Event()

    def make_results(analysis_id: str) -> None:
        maker.make(analysis_id)
        results_ready.set()

    attempts = Attempts(
        database,
        store.files.fetch,
        pool,
        model,
        make_results=make_results,
        check_files=Integrity(database, store.files).damaged,
    )
    workflows = AnalysisWorkflows(
        wiring_worker.workflow_config(settings), AnalysisSteps(attempts.run, attempts.fail, attempts.results)
    )
    heartbeat = wiring_worker.build_heartbeat_monitor(settings, database, workflows)
    heartbeat.register()
    workflows.launch()
    deliver = wiring_worker.build_delivery(settings, database, maker, store)
    config = WorkerConfig(quiet_s=settings.dicom.quiet_s)
    worker = Worker(database, model, workflows.submit, deliver_due=deliver, config=config, results_ready=results_ready)

    def follow(pool: AnalysisPool, model: ModelIdentity) -> None:
        attempts.use(pool, model)
        worker.use(model)

    PeriodicTask("models", MODELS_S, lambda: live.refresh(follow)).start(stop)
    for task in wiring_worker.build_periodic_tasks(settings, database, store):
        task.start(stop)
    shadow_runs = wiring_models.build_shadow_runs(settings, database, store)
    if shadow_runs is not None:
        PeriodicTask("shadow", SHADOW_S, with_advisory_lock(database, "shadow", shadow_runs.run_due)).start(stop)
    PeriodicTask("worker:beat", HEARTBEAT_S, heartbeat.beat).start(stop)
    announce({"executor_id": settings.worker.executor_id, "model": model.name, "model_sha256": model.sha256})
    worker.run(stop)
    if shadow_runs is not None:
        shadow_runs.close()
    live.close()
    workflows.close()
    store.close()
    database.dispose()


def cannot_listen(section: str, host: str, port: int, error: OSError) -> PartError:
    """Return the error for an address that cannot be bound, naming its settings."""
    why = error.strerror or type(error).__name__
    text = f"cannot listen on {host}:{port} ({why}); set LUNGNODE_{section}__HOST or LUNGNODE_{section}__PORT"
    return PartError("cannot_listen", text)


_PARTS: dict[PartName, Callable[[Settings, MakeAnalyzer, Announce, threading.Event], None]] = {
    PartName.WORKER: run_worker,
    PartName.WEB: run_web,
}
