"""The demonstration as a user runs it: the real service, the real models, and nothing left at the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.client.peer import RemoteNode
from dicom_node.intake.instance_intake import Intake
from dicom_node.port.listener import ListenerSettings
from dicom_node.services.storage_service import start_listener
from dicom_node.storage.instance_store import InstanceStore
from lungnode.demo.pacs import push, study_files
from lungnode.errors import CommandError
from tests.support.environment import clean_environment
from tests.support.factories import Defects, ct_series, sqlite_database

ROOT = Path(__file__).parents[2]


def environment(**changes: str) -> dict[str, str]:
    variables = clean_environment()
    return variables | {"OMP_NUM_THREADS": "1"} | changes


def run_demo(*arguments: str, timeout_s: float = 280, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lungnode", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=ROOT,
        env=environment(**changes),
    )


def processes_with(text: str) -> list[int]:
    """Processes whose environment mentions a text: what the demonstration started has its HOME there."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "environ").read_bytes():
                    pids.append(int(entry.name))
            except OSError:
                continue
    return pids


@pytest.mark.timeout(600)
def test_a_result_comes_back_and_nothing_stays_behind(tmp_path: Path) -> None:
    done = run_demo("--exit", timeout_s=580, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout
    assert "generated phantom, not a patient" in text
    assert "No accuracy is claimed" in text
    assert re.search(r"Pushed 120 images by C-STORE", text)
    assert re.search(r"States: .*analysed at", text)
    assert "Comprehensive 3D SR Storage" in text
    assert "Segmentation Storage" in text
    assert "Secondary Capture Image Storage" in text
    assert re.search(r"http://127\.0\.0\.1:\d+/studies/2\.25\.\d+", text)
    assert list(tmp_path.glob("lungnode-demo-*")) == []
    assert processes_with(str(tmp_path)) == []


def test_a_study_that_cannot_be_analysed_is_one_clear_line_and_status_1(tmp_path: Path) -> None:
    series = ct_series(tmp_path / "study", n=3, rows=32)
    done = run_demo("--exit", "--study", str(series.folder), TMPDIR=str(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("lungnode: no result: the study is not analysed: ")
    assert processes_with(str(tmp_path)) == []


def test_a_service_that_cannot_start_is_reported(tmp_path: Path) -> None:
    home = tmp_path / "home"
    bundle = tmp_path / "no-bundle"
    done = run_demo(
        "--exit", "--study", str(ct_series(tmp_path / "study", n=2, rows=16).folder),
        LUNGNODE_HOME=str(home), LUNGNODE_MODEL__BUNDLE=str(bundle),
    )  # fmt: skip
    assert done.returncode == 1
    assert re.match(r"lungnode: the (service ended with status|models cannot be loaded)", done.stderr)
    assert processes_with(str(home)) == []


def test_ended_from_outside_it_ends_the_service_as_well(tmp_path: Path) -> None:
    folder = ct_series(tmp_path / "study", n=2, rows=16).folder
    command = [sys.executable, "-m", "lungnode", "demo", "--study", str(folder)]
    home = tmp_path / "home"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment(LUNGNODE_HOME=str(home))
    ) as demo:
        assert demo.stdout is not None
        assert b"Starting the service" in demo.stdout.readline()
        deadline = time.monotonic() + 60
        while len(processes_with(str(home))) < 2 and time.monotonic() < deadline:
            os.sched_yield()
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) != 0
    assert processes_with(str(home)) == []


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[RemoteNode]:
    database = sqlite_database(tmp_path / "home")
    with InstanceStore(tmp_path / "home" / "store") as store:
        running = start_listener(ListenerSettings(port=0), Intake(store, database))
        yield RemoteNode("LUNGNODE", "127.0.0.1", running.port)
        running.stop()
    database.dispose()


@pytest.mark.parametrize("transfer_syntax", ["explicit", "implicit", "deflated", "rle", "jpegls", "j2k"])
def test_studies_of_any_syntax_are_pushed_as_they_are(
    tmp_path: Path, listener: RemoteNode, transfer_syntax: str
) -> None:
    ct_series(tmp_path / "study", n=4, rows=32, transfer_syntax=transfer_syntax)
    files = study_files(tmp_path / "study")
    counts: list[int] = []
    push(listener, files, counts.append)
    assert counts == [1, 2, 3, 4]
    stored = list((tmp_path / "home" / "store").rglob("*.dcm"))
    assert len(stored) == 4


def test_a_refused_image_is_an_error_that_says_which(tmp_path: Path, listener: RemoteNode) -> None:
    mr = "1.2.840.10008.5.1.4.1.1.4"
    taken, refused = (
        ct_series(tmp_path / name, n=1, rows=16, defects=Defects(attributes={"SOPClassUID": uid})).paths[0]
        for name, uid in (("ct", "1.2.840.10008.5.1.4.1.1.2"), ("mr", mr))
    )
    (file,) = study_files(taken.parent)
    counts: list[int] = []
    with pytest.raises(CommandError, match="image 2 of 2 was refused: the node does not accept MR Image Storage"):
        push(listener, [file, replace(file, path=refused, sop_class_uid=mr)], counts.append)
    assert counts == [1]
