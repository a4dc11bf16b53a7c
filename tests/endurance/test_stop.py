"""Signals to stop at any moment of a start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Service

pytestmark = pytest.mark.timeout(900)  # many processes start here; a busy machine takes its time


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "home")
    yield service
    service.close()


@pytest.mark.parametrize("delay_s", [0.1, 0.6, 1.5, 3.0, 5.0])
@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
    ids=["SIGTERM", "SIGTERM to its group", "SIGINT to its group"],
)
def test_a_stop_while_it_starts_is_no_crash(
    delay_s: float, number: signal.Signals, group: bool, service: Service
) -> None:
    """At the terminal Ctrl-C goes to the whole group, and so does the SIGTERM of systemd."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored, inherited
    environment = service._environment() | {"LUNGNODE_DICOM__PORT": "0", "LUNGNODE_WEB__PORT": "0"}
    with service.log.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lungnode", "serve"],
            stdout=log, stderr=log, env=environment, cwd=service.root, start_new_session=True,
        )  # fmt: skip
    threading.Event().wait(delay_s)
    os.killpg(process.pid, number) if group else os.kill(process.pid, number)
    status = process.wait(timeout=240)
    text = service.log.read_text()
    if "Traceback" in text and f"{service.root}/lungnode/" not in text:
        return  # Ctrl-C reached the interpreter while it loaded its own modules
    assert status in {0, 130, 143, -number}, text
    if status == -number:  # the interpreter was just starting, or Ctrl-C came within exec(), as dataclasses use it:
        assert text in {"", "lungnode: interrupted\n"}  # CPython then ends itself by SIGINT after all handlers
    assert "Traceback" not in text
    assert '"level": "error"' not in text
