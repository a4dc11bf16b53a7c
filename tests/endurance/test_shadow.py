"""A whole service with a second model and a held scanner: what is unseen stays unseen until somebody decides."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from db.analyses import findings, quarantine, shadow
from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.studies import StudyState
from db.results.objects import results_of_analysis
from dicom_node.phantom.writer import SeriesIdentity
from inference.bundle import SHIPPED
from tests.support.factories import CtSeries, SimpleNodule, ct_series, simple_chest
from tests.support.fast_analyzer import MODEL_SHA256
from tests.support.service import Sender, Service, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SIZE, SPACING = (24, 192, 192), (3.0, 1.0, 1.0)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """The shipped nodule bundle calibrated otherwise: a real bundle with a digest of its own."""
    folder = tmp_path / "second"
    shutil.copytree(SHIPPED / "nodule", folder)
    recipe = json.loads((folder / "bundle.json").read_text())
    recipe["version"] = "second"
    recipe["calibration"] |= {"kind": "temperature", "parameters": {"temperature": 1.4}}
    (folder / "bundle.json").write_text(json.dumps(recipe))
    return folder


@pytest.fixture
def service(tmp_path: Path, second: Path) -> Iterator[Service]:
    """Its live model needs no weights; the second one is real. Results have a destination, which is never there."""
    nowhere = json.dumps([{"ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 9}])
    started = Service(
        tmp_path / "home",
        environment={"LUNGNODE_MODEL__SHADOW_BUNDLE": str(second), "LUNGNODE_DICOM__DESTINATIONS": nowhere},
    )
    yield started
    started.close()


def chest(folder: Path, number: int) -> CtSeries:
    volume = simple_chest(*SIZE, SPACING, seed=number)
    nodule = SimpleNodule((12.0, 86.0, 58.0), 10.0, hu=900.0)
    who = SeriesIdentity(patient_name=f"TEST^{number}", patient_id=f"P{number}")
    return ct_series(
        folder / str(number), volume_hu=volume, spacing_mm=SPACING, nodules=(nodule,), identity=who, seed=number
    )


def typed(service: Service, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command on the node."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNGNODE_")}
    environment |= {"LUNGNODE_HOME": str(service.home), **service.environment}
    command = [sys.executable, "-m", "lungnode", *arguments]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)


def did(service: Service, *arguments: str, stdin: str = "") -> dict[str, object]:
    """Run a command that succeeds and prints one JSON object."""
    done = typed(service, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def latest(service: Service, series: CtSeries) -> AnalysisRecord:
    return service.analyses(series.series_instance_uid)[-1]


def digest_of_the_web(service: Service) -> str:
    status = requests.get(service.addresses["web"]["url"] + "model_status", timeout=30).json()
    return str(status["sha256"])


def digest_of_the_second(service: Service) -> str:
    """Wait for a trial, and tell under which digest it was put down."""

    def tried() -> str:
        with service.database.read() as session:
            return next((model.sha256 for model in shadow.shadow_models(session)), "")

    return until(tried, bool, 180)


def run_until_by(service: Service, series: CtSeries, sha256: str) -> None:
    """Ask for further runs until the worker, which looks by itself which model is live, answers by that one."""
    url = f"{service.addresses['web']['url']}api/v1/studies/{series.study_instance_uid}/analyses"

    def run() -> AnalysisRecord:
        if (one := latest(service, series)).finished_at and one.model.sha256 != sha256:
            requests.post(url, timeout=60)
        return one

    until(run, lambda one: one.status is AnalysisStatus.CURRENT and one.model.sha256 == sha256, 120)


def test_quarantine_shadow_runs_promotion_and_rollback(service: Service, tmp_path: Path) -> None:
    status = service.start()
    push = Sender(status["dicom"]["port"])
    url = status["web"]["url"]
    first, held, last = (chest(tmp_path, number) for number in (1, 2, 3))

    push.send(first.paths)
    assert service.wait_finished(first.series_instance_uid).state is StudyState.ANALYSED
    own = digest_of_the_web(service)
    key = str(did(service, "scanner", "list")["key"])
    did(service, "scanner", "hold", key, "--reason", "noise went up")

    push.send(held.paths)
    record = service.wait_finished(held.series_instance_uid)
    assert (record.state, record.reasons[0].code) == (StudyState.NOT_ANALYSED, "scanner_held")
    analysis = latest(service, held)
    assert analysis.status is AnalysisStatus.QUARANTINED
    item = requests.get(f"{url}api/v1/studies/{held.study_instance_uid}", timeout=60).json()
    hidden = [item[name] for name in ("malignancy_probability", "finding_count", "findings", "deliveries")]
    assert hidden == [None, 0, [], []]
    series_found = requests.get(f"{url}dicom-web/studies/{held.study_instance_uid}/series", timeout=60).json()
    assert [one["00080060"]["Value"] for one in series_found] == [["CT"]]

    second = digest_of_the_second(service)
    assert second not in (own, MODEL_SHA256)
    with service.database.read() as session:
        (pair,) = shadow.pairs(session, second)
        assert len(findings.findings_of_analysis(session, analysis.id)) == 1
        assert results_of_analysis(session, analysis.id) == ()
    assert (pair.failed_with, len(pair.live), len(pair.shadow)) == ("", 1, 1)

    typed(service, "user", "add", "chief", "--role", "admin", stdin="correct horse battery\n")
    promote = ("model", "promote", second, "--by", "chief", "--reason", "a rehearsal", "--force")
    assert did(service, *promote)["live"] == second
    did(service, "scanner", "release", key, "--reason", "serviced", "--rerun")
    until(lambda: latest(service, held), lambda one: one.status is AnalysisStatus.CURRENT, 240)
    until(lambda: digest_of_the_web(service), lambda digest: digest == second, 120)
    run_until_by(service, held, second)
    with service.database.read() as session:
        assert quarantine.quarantined_analyses(session) == ()

    assert did(service, "model", "rollback", "--by", "chief", "--reason", "complaints")["live"]
    until(lambda: digest_of_the_web(service), lambda digest: digest == own, 120)
    run_until_by(service, held, MODEL_SHA256)
    push.send(last.paths)
    assert service.wait_finished(last.series_instance_uid).state is StudyState.ANALYSED
    assert latest(service, last).model.sha256 == MODEL_SHA256
    shown = requests.get(f"{url}api/v1/studies/{first.study_instance_uid}", timeout=60).json()
    assert shown["deliveries"], "what is shown is sent"
    assert service.stop() == 0
