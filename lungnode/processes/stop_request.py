"""Handlers of SIGTERM and SIGINT that stop a command and record the request.

A handler that raises is not enough: where the signal arrives within a finaliser or the callback of a weak reference,
the interpreter prints and drops the exception (``sys.unraisablehook``), and the command would run on. A
service checks ``is_stop_requested`` once it has installed handlers of its own.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

_is_requested = False


def install() -> None:
    """Handle SIGTERM by exit status 143 and SIGINT by ``KeyboardInterrupt`` (main thread only).

    SIGINT stays ignored where the parent ignored it, as shells do for commands in the background.
    """
    signal.signal(signal.SIGTERM, _on_signal)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_signal)


def is_stop_requested() -> bool:
    """Return True if a signal to stop has arrived since ``install``."""
    return _is_requested


def _on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    global _is_requested  # noqa: PLW0603 - signals are of the process
    _is_requested = True
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(143)
