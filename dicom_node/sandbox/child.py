"""Child processes for untrusted files: their environment, standard output and limits."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

_NAMES = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "TZ")


def child_environment(scratch: Path | None = None) -> dict[str, str]:
    """Return what Python needs of this environment, without secrets; ``scratch`` is for temporary files."""
    environment = {name: os.environ[name] for name in _NAMES if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    return environment if scratch is None else environment | {"TMPDIR": str(scratch)}


def take_over_stdout() -> BinaryIO:
    """Return the pipe for replies, and discard what libraries print, possibly patient data."""
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    return replies


def limit_process(limits: Mapping[int, int]) -> None:
    """Lower soft and hard limits of this process (``resource.RLIMIT_...``)."""
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))
