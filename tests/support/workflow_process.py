"""A worker without its process tree: durable queue, attempts and loop over a database that the test filled."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from db.database import Database
from dicom_node.jobs.analysis_process import AnalysisLimits, AnalysisPool
from dicom_node.jobs.attempts import Attempts
from dicom_node.jobs.liveness import HeartbeatMonitor
from dicom_node.jobs.worker import PeriodicTask, Worker, WorkerConfig
from dicom_node.jobs.workflow import AnalysisSteps, AnalysisWorkflows, WorkflowConfig
from dicom_node.sandbox.decode_process import DecodeLimits
from lungnode.logs import configure_logging
from tests.support.fast_analyzer import make_fast_analyzer

AUDIT_KEY = bytes(range(32))


def result_maker(folder: Path, trouble: str) -> Callable[[str], None]:
    """Touch one file for each analysis, after one for each call; ``hangs`` before, ``fails`` at the first call."""
    results, calls, number = folder / "results", folder / "makings", count()
    for one in (results, calls):
        one.mkdir(exist_ok=True)

    def make(analysis_id: str) -> None:
        (calls / f"{analysis_id}-{time.monotonic_ns()}").touch()
        if trouble == "hangs":
            time.sleep(3600)
        if trouble == "fails" and next(number) == 0:
            raise OSError
        (results / analysis_id).touch()

    return make


def main(options: dict[str, object], log: Path, ready: Connection) -> None:
    """Work as the worker does until killed, with an analyzer that needs no weights; send to ``ready`` once it works."""
    with log.open("a") as file:
        os.dup2(file.fileno(), 2)
    configure_logging("info", "json")
    folder = Path(str(options["folder"]))
    database = Database(str(options["url"]), AUDIT_KEY)
    make = partial(make_fast_analyzer, folder / "calls", float(str(options.get("delay_s", 0))))
    limits = AnalysisLimits(DecodeLimits(), timeout_s=float(str(options.get("timeout_s", 60))))
    pool = AnalysisPool(make, limits)
    model = pool.start()
    attempts = Attempts(
        database,
        lambda paths: [folder / "store" / path for path in paths],
        pool,
        model,
        make_results=result_maker(folder, str(options.get("results", ""))),
    )
    steps = AnalysisSteps(run=attempts.run, fail=attempts.fail, make_results=attempts.results)
    name = str(options.get("executor_id", "worker-1"))
    pause_s = float(str(options.get("retry_s", 0.05)))
    config = WorkflowConfig(str(options["system_url"]), name, retry_delays_s=(pause_s, pause_s), poll_s=0.1)
    workflows = AnalysisWorkflows(config, steps)
    heartbeat_timeout_s = float(str(options.get("heartbeat_timeout_s", 60)))
    monitor = HeartbeatMonitor(
        database, name, "0", workflows.resume, workflows.resume_strays, timeout_s=heartbeat_timeout_s
    )
    monitor.register()
    workflows.launch()
    worker_config = WorkerConfig(quiet_s=0.3, poll_s=0.1)
    worker = Worker(database, model, workflows.submit, deliver_due=lambda: None, config=worker_config)
    stop = threading.Event()
    PeriodicTask("worker:beat", 0.2, monitor.beat).start(stop)
    ready.send(None)
    ready.close()
    worker.run(stop)
