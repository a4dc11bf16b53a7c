"""The doctor visits real archives: Orthanc, and one that refuses everything it can."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    Verification,
)

from lungnode.commands.doctor import Check
from lungnode.commands.doctor_pacs import examine_pacs, make_objects
from lungnode.settings.dicom import Destination
from lungnode.settings.service import Settings
from tests.support.service import held_port

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as held:
        yield held


@pytest.fixture
def orthanc(tmp_path: Path, port: int) -> Iterator[Destination]:
    """An Orthanc that knows this node."""
    if ORTHANC is None:
        pytest.skip("Orthanc is not installed")
    config = {
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "DicomAet": "PACS",
        "DicomPort": port,
        "HttpServerEnabled": False,
        "DicomModalities": {"lungnode": ["LUNGNODE", "127.0.0.1", 11112]},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(config))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    try:
        wait_for(port)
        yield Destination(ae_title="PACS", host="127.0.0.1", port=port)
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError


@pytest.mark.orthanc
def test_orthanc_takes_both_results_and_lists_them(orthanc: Destination) -> None:
    for _ in range(2):  # the second visit sends the same objects again
        checks = by_name(examine_pacs(Settings(), orthanc))
        assert all(check.is_fine for check in checks.values()), checks
        assert checks["C-FIND"].text == "lists the test study"
    assert list(checks) == [
        "association",
        "C-ECHO",
        "C-STORE structured report",
        "C-STORE summary image",
        "C-STORE presentation state",
        "C-STORE segmentation",
        "storage commitment",
        "C-FIND",
    ]


@pytest.fixture
def grudging_pacs() -> Iterator[Destination]:
    """A PACS that echoes, refuses reports as out of resources, does not know images, and offers no queries."""

    def refuse(event: evt.Event) -> int:
        return 0xA700

    ae = AE("PACS")
    ae.add_supported_context(Verification)
    ae.add_supported_context(Comprehensive3DSRStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, refuse)])
    assert server is not None
    yield Destination(ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    server.shutdown()


def test_refusals_of_a_pacs_are_reported(grudging_pacs: Destination) -> None:
    checks = by_name(examine_pacs(Settings(), grudging_pacs))
    assert checks["C-ECHO"].is_fine
    assert "0xA700" in checks["C-STORE structured report"].text
    assert "does not accept" in checks["C-STORE summary image"].text
    assert [name for name, check in checks.items() if not check.is_fine] == [
        "C-STORE structured report",
        "C-STORE summary image",
        "C-STORE presentation state",
        "C-STORE segmentation",
        "C-FIND",
    ]


def test_an_unreachable_pacs_is_reported() -> None:
    (check,) = examine_pacs(Settings(), Destination(ae_title="PACS", host="127.0.0.1", port=1))
    assert not check.is_fine
    assert "no response at its address" in check.text


def test_a_wrong_ae_title_is_reported(grudging_pacs: Destination) -> None:
    strict = AE("STRICT")
    strict.require_called_aet = True
    strict.add_supported_context(Verification)
    server = strict.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    wrong = Destination(ae_title="OTHER", host="127.0.0.1", port=server.server_address[1])
    (check,) = examine_pacs(Settings(), wrong)
    server.shutdown()
    assert "rejected the association" in check.text
    assert "is LUNGNODE registered there" in check.text


def test_the_same_objects_are_sent_at_every_visit(tmp_path: Path) -> None:
    first, second = (make_objects(tmp_path / name, "LUNGNODE") for name in ("a", "b"))
    assert [ds.SOPInstanceUID for ds in first] == [ds.SOPInstanceUID for ds in second]
    assert [ds.Modality for ds in first] == ["SR", "OT", "PR", "SEG"]
    assert {str(ds.PatientName) for ds in first} == {"LUNGNODE^DOCTOR"}
    assert all(isinstance(ds, Dataset) for ds in first)
