"""Studies are fetched from a real archive into a real listener, and what goes wrong is told."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from db.engine import Database, load_or_create_audit_key
from db.schema import upgrade
from db.studies import study_detail
from dicom_node.intake import Intake
from dicom_node.scp import ListenerSettings, start_listener
from dicom_node.store import InstanceStore
from lungnode.cli import run
from lungnode.errors import CommandError
from lungnode.retrieve import choose_pacs
from lungnode.settings import DicomSettings, Peer, Settings
from tests.factories import ct_series

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


@dataclass(frozen=True)
class Archive:
    """An Orthanc that holds one study and knows our listener."""

    port: int
    study_instance_uid: str
    accession: str
    database: Database


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    if ORTHANC is None:
        pytest.skip("Orthanc is not installed")
    url = f"sqlite:///{tmp_path / 'lungnode.db'}"
    upgrade(url)
    database = Database(url, load_or_create_audit_key(tmp_path / "audit.key"))
    store = InstanceStore(tmp_path / "store")
    listener = start_listener(ListenerSettings(port=0), Intake(store, database))
    port = free_port()
    process = start_orthanc(tmp_path / "orthanc", port, listener.port)
    try:
        series = ct_series(tmp_path / "series", n=4)
        send(series.paths, port)
        accession = str(dcmread(series.paths[0], stop_before_pixels=True).AccessionNumber)
        yield Archive(port, series.study_instance_uid, accession, database)
    finally:
        process.terminate()
        process.wait(20)
        listener.stop()
        store.close()
        database.dispose()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_orthanc(folder: Path, port: int, listener_port: int) -> subprocess.Popen[bytes]:
    folder.mkdir()
    config = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "DicomAet": "PACS",
        "DicomPort": port,
        "HttpServerEnabled": False,
        "SynchronousCMove": True,
        "DicomModalities": {"lungnode": ["LUNGNODE", "127.0.0.1", listener_port]},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    raise TimeoutError


def send(paths: tuple[Path, ...], port: int) -> None:
    ae = AE("MODALITY")
    ae.add_requested_context(CTImageStorage)
    association = ae.associate("127.0.0.1", port, ae_title="PACS")
    assert association.is_established
    assert {association.send_c_store(path).Status for path in paths} == {0}
    association.release()


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUNGNODE_HOME", str(tmp_path / "home"))


def name_peer(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    peers = [{"ae_title": "PACS", "host": "127.0.0.1", "port": port}]
    monkeypatch.setenv("LUNGNODE_DICOM__PEERS", json.dumps(peers))


@pytest.mark.orthanc
@pytest.mark.parametrize("by", ["accession", "study"])
def test_a_study_is_fetched(
    by: str, archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_peer(monkeypatch, archive.port)
    key = archive.accession if by == "accession" else archive.study_instance_uid
    assert run(["retrieve", f"--{by}", key]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["study_instance_uid"], told["completed"], told["failed"]) == (archive.study_instance_uid, 4, 0)
    with archive.database.read() as session:
        detail = study_detail(session, archive.study_instance_uid)
    assert detail is not None
    assert detail.item.instance_count == 4


@pytest.mark.orthanc
def test_an_unknown_study_is_told(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_peer(monkeypatch, archive.port)
    assert run(["retrieve", "--accession", "NOSUCH"]) == 1
    assert "PACS knows no such study" in capsys.readouterr().err


def test_a_silent_pacs_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name_peer(monkeypatch, 1)
    assert run(["retrieve", "--accession", "A1"]) == 1
    assert "nothing answers" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--accession", "*"], ["--accession", ""], ["--study", " "]])
def test_a_query_for_everything_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["retrieve", *arguments]) == 1
    assert "say which study" in capsys.readouterr().err


def test_the_pacs_is_the_only_peer_or_the_named_one() -> None:
    one, two = Peer(ae_title="ONE"), Peer(ae_title="TWO")

    def settings(*peers: Peer) -> Settings:
        return Settings(dicom=DicomSettings(peers=peers))

    assert choose_pacs(settings(one), None) == one
    assert choose_pacs(settings(one, two), "TWO") == two
    for peers, name, words in (((), None, "no PACS"), ((one, two), None, "which one"), ((one,), "SIX", "no peer")):
        with pytest.raises(CommandError, match=words):
            choose_pacs(settings(*peers), name)
