"""The process tree: ready when it says so, restarts what dies, ends whole, and takes its ports with it."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from db.audit import trail as audit
from db.audit.verification import verify
from db.domain.analyses import AnalysisStatus
from db.domain.studies import StudyState
from dicom_node.client.peer import RemoteNode, echo
from dicom_node.phantom.writer import SeriesIdentity
from lungnode.commands.healthcheck import is_up
from tests.support.factories import CtSeries, SimpleNodule, ct_series
from tests.support.fast_analyzer import HELD
from tests.support.service import Sender, Service, is_running, tree_of, until

pytestmark = pytest.mark.timeout(900)  # many processes start here; a busy machine takes its time


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "home")
    yield service
    service.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for tests after which it runs as before."""
    service = Service(tmp_path_factory.mktemp("running") / "home")
    service.start()
    yield service
    service.close()


@pytest.fixture
def series(tmp_path: Path, request: pytest.FixtureRequest) -> CtSeries:
    nodule = SimpleNodule((10.0, 16.0, 12.0), 9.0, hu=900.0)
    identity = SeriesIdentity(patient_id="P", uid_seed=request.node.name)
    return ct_series(
        tmp_path / "series", n=20, rows=32, spacing_mm=(2.5, 0.7, 0.7), nodules=(nodule,), identity=identity
    )


def status_of(service: Service) -> dict[str, Any]:
    """Return what the service says of itself once all its parts run."""
    status: dict[str, Any] = until(
        lambda: json.loads((service.home / "run" / "serve.json").read_text()),
        lambda now: all(is_running(now[part]["pid"]) for part in ("dicom", "worker", "web")),
    )
    return status


def answers(port: int) -> bool:
    """Return True if a C-ECHO is answered."""
    return echo(RemoteNode("LUNGNODE", "127.0.0.1", port), "PACS") == ""


def test_from_ready_to_an_answer_to_the_end(service: Service, series: CtSeries) -> None:
    status = service.start()
    assert status["event"] == "ready"
    assert status["pid"] == service.process.pid if service.process else None
    assert json.loads((service.home / "run" / "serve.json").read_text()) == status
    assert json.loads((service.home / "run" / "dicom.json").read_text())["port"] == status["dicom"]["port"]
    assert requests.get(status["web"]["url"] + "livez", timeout=60).status_code == 200
    assert answers(status["dicom"]["port"])

    sender = Sender(status["dicom"]["port"])
    sender.send(series.paths)
    assert len(sender.acknowledged) == 20
    record = service.wait_finished(series.series_instance_uid)
    assert record.state is StudyState.ANALYSED
    item = requests.get(status["web"]["url"] + "api/v1/worklist", timeout=60).json()["items"][0]
    assert (item["state"], item["finding_count"]) == ("analysed", 1)

    assert service.stop() == 0
    assert not (service.home / "run" / "serve.json").exists()
    with service.database.read() as session:
        actions = [entry.event.action for entry in audit.recent(session, limit=200)]
    assert {"service:started", "service:stopped", "study:received", "analysis:completed"} <= set(actions)
    assert verify(service.database).is_intact
    assert list((service.home / "scratch").iterdir()) == []


def test_late_slices_supersede_the_first_analysis(running: Service, series: CtSeries) -> None:
    port = status_of(running)["dicom"]["port"]
    Sender(port).send(series.paths[:16])
    first = running.wait_finished(series.series_instance_uid)
    assert first.state is StudyState.ANALYSED
    Sender(port).send(series.paths[16:])
    until(
        lambda: [analysis.status for analysis in running.analyses(series.series_instance_uid)],
        lambda statuses: statuses == [AnalysisStatus.SUPERSEDED, AnalysisStatus.CURRENT],
    )


def test_a_part_that_dies_is_restarted_where_it_was(running: Service) -> None:
    status = status_of(running)
    for name in ("dicom", "web"):
        os.kill(status[name]["pid"], signal.SIGKILL)
        until(lambda pid=status[name]["pid"]: is_running(pid), lambda running: not running)  # type: ignore[misc]
    until(lambda: answers(status["dicom"]["port"]), bool)

    def is_served() -> bool:
        try:
            return requests.get(status["web"]["url"] + "livez", timeout=5).ok
        except requests.RequestException:
            return False

    until(is_served, bool)
    noted = until(
        lambda: json.loads((running.home / "run" / "serve.json").read_text()),
        lambda now: now["web"]["pid"] != status["web"]["pid"],
    )
    assert noted["web"]["port"] == status["web"]["port"]


def test_the_port_stays_open_while_one_of_its_processes_is_killed(service: Service, tmp_path: Path) -> None:
    service.environment = {"LUNGNODE_DICOM__PROCESSES": "2"}
    status = service.start("dicom")
    port = status["dicom"]["port"]
    names = [SeriesIdentity(patient_id=f"P{number}", uid_seed=f"port {number}") for number in range(3)]
    pushed = [ct_series(tmp_path / name.patient_id, n=40, rows=32, identity=name) for name in names]
    senders = [Sender(port) for _ in pushed]
    threads = [
        threading.Thread(target=sender.send, args=(series.paths,))
        for sender, series in zip(senders, pushed, strict=True)
    ]
    for thread in threads:
        thread.start()
    until(lambda: [len(sender.acknowledged) for sender in senders], lambda counts: min(counts) >= 2)
    os.kill(status["dicom"]["pid"], signal.SIGKILL)
    assert all(answers(port) for _ in range(5)), "the other one answers meanwhile"
    for thread in threads:
        thread.join()
    for sender, series in zip(senders, pushed, strict=True):
        stored = {instance.sop_instance_uid for instance in service.instances(series.series_instance_uid)}
        assert sender.acknowledged <= stored
        assert service.damaged(series.series_instance_uid) == []
    until(
        lambda: json.loads((service.home / "run" / "dicom.json").read_text()),
        lambda now: now["pid"] != status["dicom"]["pid"],
    )
    assert service.stop() == 0


def test_a_killed_worker_finishes_what_it_had_begun(running: Service, series: CtSeries) -> None:
    status = status_of(running)
    earlier = set(running.calls.glob("*"))
    running.calls.mkdir(exist_ok=True)
    held = running.calls / HELD
    held.touch()
    Sender(status["dicom"]["port"]).send(series.paths)
    until(lambda: set(running.calls.glob("20-*")) - earlier, bool)
    os.kill(status["worker"]["pid"], signal.SIGKILL)
    held.unlink()
    assert running.wait_finished(series.series_instance_uid).state is StudyState.ANALYSED
    (analysis,) = running.analyses(series.series_instance_uid)
    assert analysis.attempts == 2


def test_killing_the_supervisor_alone_frees_the_ports(service: Service) -> None:
    status = service.start()
    assert service.process is not None
    tree = tree_of(service.process.pid)
    assert len(tree) >= 5
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    until(lambda: [pid for pid in tree if is_running(pid)], lambda left: not left)
    for name in ("dicom", "web"):
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", status[name]["port"]))


def test_ctrl_c_ends_it_as_well(service: Service) -> None:
    service.start()
    assert service.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("part", ["dicom", "web", "worker"])
def test_one_part_runs_alone(service: Service, part: str) -> None:
    status = service.start(part)
    assert set(status) == {"event", "pid", part}
    assert (service.home / "run" / f"{part}.json").exists()
    assert service.stop() == 0


def test_a_taken_port_is_an_error_that_names_it(service: Service) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        service.ports = (taken.getsockname()[1], 0)
        service.launch()
        assert service.process is not None
        assert service.process.wait(timeout=120) == 1
    assert "LUNGNODE_DICOM__PORT" in service.log.read_text()


def test_a_second_service_in_the_same_home_is_refused(running: Service) -> None:
    second = Service(running.home)
    second.launch()
    assert second.process is not None
    assert second.process.wait(timeout=120) == 1
    second._close_pipe()
    assert "already runs" in running.log.read_text()


@pytest.mark.parametrize("part", [None, "worker"])
def test_without_models_it_does_not_start(service: Service, part: str | None) -> None:
    service.environment = {"LUNGNODE_TEST_NO_MODEL": "1"}
    service.launch(part)
    assert service.process is not None
    assert service.process.wait(timeout=240) == 1
    assert service.process.stdout is not None
    assert service.process.stdout.read() == ""
    assert "the models cannot be loaded (no weights): check LUNGNODE_MODEL__BUNDLE" in service.log.read_text()


def test_images_are_received_while_models_are_missing(running: Service, series: CtSeries) -> None:
    status = status_of(running)
    running.calls.mkdir(exist_ok=True)
    (running.calls / "no-model").touch()
    os.kill(status["worker"]["pid"], signal.SIGKILL)
    noted = running.home / "run" / "worker.json"
    until(lambda: json.loads(noted.read_text()).get("problem"), lambda problem: problem == "model_unavailable")
    assert not is_up(running.home / "run", "worker")
    sender = Sender(status["dicom"]["port"])
    sender.send(series.paths)
    assert len(sender.acknowledged) == 20
    (running.calls / "no-model").unlink()
    assert running.wait_finished(series.series_instance_uid).state is StudyState.ANALYSED
    assert is_up(running.home / "run", "worker")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LUNGNODE_MODEL__BUNDLE": "{folder}/nowhere"}, ["{folder}/nowhere", "LUNGNODE_MODEL__BUNDLE"]),
        ({"LUNGNODE_MODEL__SHADOW_BUNDLE": "{folder}"}, ["{folder}", "LUNGNODE_MODEL__SHADOW_BUNDLE"]),
        (
            {f"LUNGNODE_DICOM__TLS__{name}": "{folder}/a.pem" for name in ("CERTIFICATE", "KEY", "AUTHORITY")},
            ["{folder}/a.pem", "LUNGNODE_DICOM__TLS__CERTIFICATE"],
        ),
        ({"LUNGNODE_DATABASE__URL": "sqlite:///{folder}/text.db"}, ["{folder}/text.db", "LUNGNODE_DATABASE__URL"]),
        ({"LUNGNODE_DATABASE__URL": "postgresql://x@127.0.0.1:1/x"}, ["does not answer", "LUNGNODE_DATABASE__URL"]),
        ({"LUNGNODE_DATABASE__URL": "mysql://x@127.0.0.1/x"}, ["SQLite or PostgreSQL", "LUNGNODE_DATABASE__URL"]),
        ({"LUNGNODE_WEB__PORT": "{taken}"}, ["127.0.0.1:{taken}", "LUNGNODE_WEB__PORT"]),
        ({"LUNGNODE_DICOM__PORT": "{taken}"}, ["127.0.0.1:{taken}", "LUNGNODE_DICOM__PORT"]),
        ({"LUNGNODE_WEB__HOST": "192.0.2.1"}, ["192.0.2.1", "LUNGNODE_WEB__HOST"]),
        ({"LUNGNODE_DICM__PORT": "104"}, ["LUNGNODE_DICM__PORT", "did you mean `LUNGNODE_DICOM__PORT`?"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_keeps_it_from_starting_is_one_line_with_its_setting(
    environment: dict[str, str], words: list[str], service: Service, tmp_path: Path
) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        facts = {"folder": str(tmp_path), "taken": str(taken.getsockname()[1])}
        service.environment = {name: value.format(**facts) for name, value in environment.items()}
        service.launch()
        assert service.process is not None
        assert service.process.wait(timeout=240) != 0
        assert service.process.stdout is not None
        assert service.process.stdout.read() == ""
    (line,) = [line for line in service.log.read_text().splitlines() if line.startswith("lungnode: ")]
    assert all(word.format(**facts) in line for word in words), line
    assert "Traceback" not in service.log.read_text()
