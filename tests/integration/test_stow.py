"""Results reach an archive by STOW-RS, and its answers mean what they say."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.client.peer import NodeUnreachableError, RemoteNode, ScuTimeouts, StoreOutcome
from dicom_node.client.stow import WebNode
from tests.support.factories import ct_series
from tests.support.service import held_port

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
PLUGINS = [
    *Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*"),
    *Path("/usr/lib/orthanc").glob("libOrthancDicomWeb.so*"),
]


@dataclass
class Archive:
    """An archive with set answers, which records its requests."""

    status: int = 200
    answer: object = None
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    location: str = ""


@contextmanager
def running(archive: Archive) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            archive.headers.append(dict(self.headers))
            archive.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(archive.answer).encode() if archive.answer is not None else b""
            self.send_response(archive.status)
            if archive.location:
                self.send_header("Location", archive.location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()


def failed(reason: int) -> dict[str, object]:
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return ct_series(tmp_path / "series", n=1, rows=16).paths[0]


@pytest.mark.parametrize(
    ("status", "answer", "outcome"),
    [
        (200, {"00081199": {"vr": "SQ", "Value": [{}]}}, StoreOutcome.STORED),
        (200, None, StoreOutcome.STORED),
        (202, {}, StoreOutcome.STORED),
        (202, failed(0xA900), StoreOutcome.REFUSED),
        (409, failed(0x0111), StoreOutcome.STORED),
        (409, failed(0x0110), StoreOutcome.REFUSED),
        (400, None, StoreOutcome.REFUSED),
        (415, None, StoreOutcome.NOT_TAKEN),
        (401, None, StoreOutcome.TRY_LATER),
        (302, None, StoreOutcome.REFUSED),
        (503, None, StoreOutcome.TRY_LATER),
        (200, ["nonsense"], StoreOutcome.STORED),
    ],
)
def test_an_answer_means_what_to_do_next(path: Path, status: int, answer: object, outcome: StoreOutcome) -> None:
    archive = Archive(status, answer)
    with running(archive) as url:
        node = RemoteNode("WEB", "", 0, url=url, authorization="Bearer secret")
        assert WebNode(node, ScuTimeouts(5, 5, 20)).store(path).outcome is outcome
    (headers,) = archive.headers
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert path.read_bytes() in archive.bodies[0]


def test_a_redirection_is_not_followed(path: Path) -> None:
    other_archive = Archive()
    with running(other_archive) as elsewhere, running(Archive(307, location=elsewhere)) as url:
        answer = WebNode(RemoteNode("WEB", "", 0, url=url), ScuTimeouts(5, 5, 20)).store(path)
    assert answer.outcome is StoreOutcome.REFUSED
    assert other_archive.bodies == []


def test_an_unreachable_archive_is_reported(path: Path) -> None:
    with held_port() as port, pytest.raises(NodeUnreachableError, match="no answer at its URL"):
        WebNode(RemoteNode("WEB", "", 0, url=f"http://127.0.0.1:{port}/x"), ScuTimeouts(2, 2, 2)).store(path)


@pytest.fixture
def ports() -> Iterator[list[int]]:
    with held_port() as one, held_port() as other:
        yield [one, other]


@pytest.mark.orthanc
def test_orthanc_takes_an_instance_by_stow_and_lists_it_by_qido(path: Path, tmp_path: Path, ports: list[int]) -> None:
    if ORTHANC is None or not PLUGINS:
        pytest.skip("Orthanc or its DICOMweb plugin is not installed")
    (http, dicom), folder = ports, tmp_path / "orthanc"
    folder.mkdir()
    config = {
        "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "Plugins": [str(PLUGINS[0])],
        "HttpPort": http, "DicomPort": dicom, "AuthenticationEnabled": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(config))
    node = RemoteNode("WEB", "", 0, url=f"http://127.0.0.1:{http}/dicom-web")
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log) as server,
    ):
        try:
            web, ds = WebNode(node, ScuTimeouts(5, 5, 60)), dcmread(path)
            assert stored_at_last(web, path)
            assert web.has_instance(str(ds.StudyInstanceUID), str(ds.SOPInstanceUID))
            assert not web.has_instance(str(ds.StudyInstanceUID), "2.25.1")
        finally:
            server.terminate()
            server.wait(30)


def stored_at_last(web: WebNode, path: Path) -> bool:
    """Send to an archive that is just starting until it answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            return web.store(path).outcome is StoreOutcome.STORED
        except NodeUnreachableError:
            time.sleep(0.2)
    return False
