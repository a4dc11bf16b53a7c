"""File of the listener's counters, from which the web process exports Prometheus metrics."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dicom_node.intake.counters import Counters


class CountsFile:
    """The counters of this process, as a file in ``HOME/run``."""

    def __init__(self, folder: Path, counters: Counters) -> None:
        self._path = folder / f"counts-{os.getpid()}.json"
        self._counters = counters

    def write(self) -> None:
        """Write the current counts, replacing the file atomically."""
        counts = [[name, label, value] for (name, label), value in sorted(self._counters.snapshot().items())]
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(counts), encoding="utf-8")
        draft.replace(self._path)

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
