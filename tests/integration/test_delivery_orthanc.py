"""Orthanc takes each result object, gives it back as it was, and commits it by an association of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt

from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding
from db.read_models import studies
from dicom_node.client.peer import RemoteNode, ScuTimeouts, echo
from dicom_node.encoding.commitment_messages import COMMITMENT_CLASS, report_handler
from dicom_node.results.delivery import DeliveryConfig, DeliveryRound, deliver_due
from dicom_node.results.objects import ReportSettings, ResultMaker
from dicom_node.storage.files import LocalFiles
from tests.support.factories import SimpleNodule, answer_series, ct_series, index_series, sqlite_database
from tests.support.service import held_port

pytestmark = pytest.mark.orthanc

STATION = "LUNGNODE"
TIMEOUTS = ScuTimeouts(5, 20, 60)
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Orthanc:
    node: RemoteNode
    url: str

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with _OPENER.open(urllib.request.Request(self.url + path, data), timeout=120) as response:
            return json.load(response)

    def file(self, instance: str) -> bytes:
        return self.get(f"/instances/{instance}/file")

    def get(self, path: str) -> bytes:
        with _OPENER.open(self.url + path, timeout=60) as response:
            content: bytes = response.read()
        return content

    def post(self, path: str, content: bytes) -> None:
        with _OPENER.open(urllib.request.Request(self.url + path, content), timeout=60):
            pass

    def delete(self, path: str) -> None:
        with _OPENER.open(urllib.request.Request(self.url + path, method="DELETE"), timeout=60):
            pass


@contextmanager
def orthanc(folder: Path, our_port: int, modalities: dict[str, Any] | None = None) -> Iterator[Orthanc]:
    binary = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("Orthanc is not installed")
    with held_port() as dicom_port, held_port() as http_port:
        us = {"AET": STATION, "Host": "127.0.0.1", "Port": our_port, "AllowStorageCommitment": True}
        configuration = {
            "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "Plugins": [],
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "HttpPort": http_port,
            "DicomAet": "ORTHANC", "DicomPort": dicom_port, "DicomModalities": {"us": us, **(modalities or {})},
            "SynchronousCMove": True,
        }  # fmt: skip
        folder.mkdir()
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        node = RemoteNode("ORTHANC", "127.0.0.1", dicom_port, storage_commitment=True)
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen([binary, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder) as server,
        ):
            try:
                deadline = datetime.now(UTC) + timedelta(seconds=60)
                while echo(node, STATION, TIMEOUTS):
                    assert server.poll() is None, (folder / "log").read_text()[-2000:]
                    assert datetime.now(UTC) < deadline, "Orthanc did not come up"
                yield Orthanc(node, f"http://127.0.0.1:{http_port}")
            finally:
                server.terminate()
                server.wait(30)


def test_orthanc_takes_commits_and_gives_back_every_result(tmp_path: Path) -> None:
    nodule = SimpleNodule((6.0, 20.0, 14.0), 14.0)
    series = ct_series(tmp_path / "series", n=12, rows=40, nodules=(nodule,))
    database, store = sqlite_database(tmp_path), tmp_path / "store"
    series_id = index_series(database, series, store)
    finding = NewFinding(
        series.sop_instance_uids[6], 1, 20.0, 14.0, series.position_mm(nodule.index), 14.0, 0.97, 0.67, (0.45, 0.82)
    )
    analysis_id = answer_series(database, series_id, AnalysisOutcome(findings=(finding,)))
    objects = ResultMaker(database, LocalFiles(store), ReportSettings(STATION, "0.1.0", ("ORTHANC",))).make(analysis_id)

    reported = threading.Event()
    handle = report_handler(database, ["ORTHANC"])

    def on_report(event: Any) -> tuple[int, None]:
        answer = handle(event)
        reported.set()
        return answer

    ae = AE(STATION)
    ae.add_supported_context("1.2.840.10008.1.1")
    ae.add_supported_context(COMMITMENT_CLASS, scu_role=True, scp_role=True)
    listener = ae.start_server(("127.0.0.1", 0), block=False)
    listener.bind(evt.EVT_N_EVENT_REPORT, on_report)
    try:
        with orthanc(tmp_path / "orthanc", listener.server_address[1]) as pacs:
            config = DeliveryConfig(STATION, (pacs.node,), timeouts=TIMEOUTS, commitment_wait_s=0.1)
            assert deliver_due(database, LocalFiles(store), config) == DeliveryRound(sent=3)
            assert reported.wait(60), "Orthanc did not report"
            stored = {
                ds.SOPInstanceUID: ds
                for ds in (dcmread(BytesIO(pacs.file(instance))) for instance in pacs.ask("/instances"))
            }
            (study,) = pacs.ask("/studies?expand")
    finally:
        listener.shutdown()
    for delivery in objects:
        assert stored[delivery.sop_instance_uid] == dcmread(store / delivery.path)
    assert study["MainDicomTags"]["StudyInstanceUID"] == series.study_instance_uid
    with database.read() as session:
        detail = studies.study_detail(session, series.study_instance_uid)
    assert detail is not None
    assert {delivery.status.value for delivery in detail.deliveries} == {"committed"}
    database.dispose()
