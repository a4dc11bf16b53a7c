"""Signals to stop whose exception the interpreter drops."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, weakref
from lungnode.processes import stop_request
from lungnode.processes.supervisor import Supervisor
from lungnode.settings.service import Settings

class Watched: pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
stop_request.install()
watched = Watched()
reference = weakref.ref(watched, lambda _: os.kill(os.getpid(), signal.{name}))
del watched
print("went on", stop_request.is_stop_requested())
Supervisor(Settings(), [], lambda *_: None, on_ready=print, on_change=print).run()
print("stopped")
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_within_a_callback_of_the_interpreter_stops_the_supervisor(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("{name}", name)], capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stdout == "went on True\nstopped\n"
    assert "Exception ignored in" in done.stderr
