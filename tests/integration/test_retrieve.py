"""Retrieval of CT series from a real archive into a real listener, with counts and reported failures."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom.sop_class import CTImageStorage, MRImageStorage

from db.database import Database, load_or_create_audit_key
from db.engine.schema import upgrade
from db.read_models.studies import study_detail
from dicom_node.client.scu_association import RequestingEntity
from dicom_node.intake.instance_intake import Intake
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.services.storage_service import start_listener
from dicom_node.storage.instance_store import InstanceStore
from lungnode.cli import run
from lungnode.commands.retrieve import choose_pacs
from lungnode.errors import CommandError
from lungnode.settings.dicom import DicomSettings, Peer
from lungnode.settings.service import Settings
from tests.support.factories import CtSeries, Defects, ct_series
from tests.support.service import held_port

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


@dataclass(frozen=True)
class Archive:
    """An Orthanc that holds a study of a chest CT, its scout view and series of PET and MR, and knows our listener."""

    port: int
    ct: CtSeries
    accession: str
    database: Database
    listener: Listener

    def here(self) -> int:
        """Number of stored instances of the study."""
        with self.database.read() as session:
            detail = study_detail(session, self.ct.study_instance_uid)
        return detail.item.instance_count if detail else 0


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as held:
        yield held


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> Iterator[Archive]:
    if ORTHANC is None:
        pytest.skip("Orthanc is not installed")
    url = f"sqlite:///{tmp_path / 'lungnode.db'}"
    upgrade(url)
    monkeypatch.setenv("LUNGNODE_DATABASE__URL", url)
    database = Database(url, load_or_create_audit_key(tmp_path / "audit.key"))
    store = InstanceStore(tmp_path / "store")
    listener = start_listener(ListenerSettings(port=0), Intake(store, database))
    process = start_orthanc(tmp_path / "orthanc", port, listener.port)
    try:
        identity = SeriesIdentity(uid_seed="retrieved")
        ct = ct_series(tmp_path / "ct", n=12, rows=16, identity=identity)
        scout = ct_series(tmp_path / "scout", n=2, rows=16, identity=replace(identity, series_number=1))
        pet = ct_series(
            tmp_path / "pet", n=3, rows=16, identity=replace(identity, series_number=5),
            defects=Defects(attributes={"Modality": "PT"}),
        )  # fmt: skip
        mr = ct_series(
            tmp_path / "mr", n=1, rows=16, identity=replace(identity, series_number=6),
            defects=Defects(attributes={"Modality": "MR", "SOPClassUID": MRImageStorage}),
        )  # fmt: skip
        send((*ct.paths, *scout.paths, *pet.paths, *mr.paths), port)
        accession = str(dcmread(ct.paths[0], stop_before_pixels=True).AccessionNumber)
        yield Archive(port, ct, accession, database, listener)
    finally:
        process.terminate()
        process.wait(20)
        listener.stop()
        store.close()
        database.dispose()


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
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    raise TimeoutError


def send(paths: tuple[Path, ...], port: int) -> None:
    ae = RequestingEntity("MODALITY")
    ae.add_requested_context(CTImageStorage)
    ae.add_requested_context(MRImageStorage)
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


def retrieve(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[int, dict[str, Any]], str]:
    """Run the command; return exit status, printed series by expected number of instances, and errors."""
    status = run(["retrieve", *arguments])
    out, errors = capsys.readouterr()
    return (
        status,
        {row["expected"]: row for row in map(json.loads, out.splitlines())},
        errors,
    )


@pytest.mark.orthanc
def test_ct_is_fetched_and_counted_and_the_rest_only_when_asked_for(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_peer(monkeypatch, archive.port)
    status, series_by_count, _ = retrieve(capsys, "--accession", archive.accession)
    assert (status, archive.here()) == (0, 12)
    assert series_by_count[12]["series_instance_uid"] == archive.ct.series_instance_uid
    assert [
        (series_by_count[n]["outcome"], series_by_count[n]["received"], series_by_count[n]["reason"])
        for n in (12, 3, 2)
    ] == [
        ("complete", 12, ""),
        ("left out", 0, "not CT"),
        ("left out", 0, "too few slices to be analysed, as scout views have"),
    ]
    status, series_by_count, _ = retrieve(capsys, "--study", archive.ct.study_instance_uid, "--all-series")
    assert (status, archive.here()) == (0, 17)
    outcomes = {n: one["outcome"] for n, one in series_by_count.items()}
    assert outcomes == {12: "here already", 3: "complete", 2: "complete", 1: "left out"}
    assert series_by_count[1]["reason"] == "no CT images, which is all that this node stores"


@pytest.mark.orthanc
def test_damaged_files_are_found_and_mended_by_fetching_them_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name_peer(monkeypatch, archive.port)
    monkeypatch.setenv("LUNGNODE_HOME", str(tmp_path))  # where the listener's store lies
    study = archive.ct.study_instance_uid
    assert retrieve(capsys, "--study", study)[0] == 0
    rotten, gone, *_ = sorted((tmp_path / "store" / "instances").rglob("*.dcm"))
    content = bytearray(rotten.read_bytes())
    content[-1] ^= 1
    rotten.write_bytes(content)
    gone.unlink()

    def verify() -> tuple[int, list[dict[str, Any]]]:
        status = run(["store", "verify"])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    status, (*damaged, counts) = verify()
    assert (status, counts) == (1, {"files": 12, "wrong": 2})
    assert {(one["problem"], tmp_path / "store" / one["path"]) for one in damaged} == {
        ("damaged", rotten),
        ("missing", gone),
    }
    assert {one["study_instance_uid"] for one in damaged} == {study}
    assert retrieve(capsys, "--study", study)[1][12]["outcome"] == "here already"
    assert retrieve(capsys, "--study", study, "--force")[1][12]["outcome"] == "complete"
    assert verify() == (0, [{"files": 12, "wrong": 0}])


@pytest.mark.orthanc
def test_instances_that_do_not_arrive_are_reported_and_the_next_study_is_requested(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_peer(monkeypatch, archive.port)
    archive.listener.stop()
    status, series_by_count, errors = retrieve(capsys, "--accession", "NOSUCH", "--accession", archive.accession)
    assert (status, series_by_count[12]["outcome"], series_by_count[12]["received"]) == (1, "incomplete", 0)
    unknown, short = errors.splitlines()
    assert unknown == "lungnode: no matching study at PACS"
    assert f"series {archive.ct.series_instance_uid}: 0 of 12 instances arrived" in short


def test_a_silent_pacs_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name_peer(monkeypatch, 1)
    upgrade(Settings().database_url)
    assert run(["retrieve", "--accession", "A1"]) == 1
    assert "no response at its address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ([], "specify a study"),
        (["--accession", "*"], "not an exact value"),
        (["--accession", ""], "not an exact value"),
        (["--study", " "], "not a valid UID"),
    ],
)
def test_a_query_for_everything_is_refused(
    arguments: list[str], refusal: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["retrieve", *arguments]) == 1
    assert refusal in capsys.readouterr().err


def test_the_pacs_is_the_only_peer_or_the_named_one() -> None:
    one, two = Peer(ae_title="ONE"), Peer(ae_title="TWO")

    def settings(*peers: Peer) -> Settings:
        return Settings(dicom=DicomSettings(peers=peers))

    assert choose_pacs(settings(one), None) == one
    assert choose_pacs(settings(one, two), "TWO") == two
    for peers, name, words in (((), None, "no PACS"), ((one, two), None, "specify one"), ((one,), "SIX", "no peer")):
        with pytest.raises(CommandError, match=words):
            choose_pacs(settings(*peers), name)
