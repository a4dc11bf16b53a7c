"""The listener's counters in a file, for the web process, which shows them to Prometheus."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dicom_node.intake.counters import Counters

PATTERN = "counts-*.json"


class CountsFile:
    """A file of this process in ``HOME/run``; a process that is gone leaves one that is no longer touched."""

    def __init__(self, folder: Path, counters: Counters) -> None:
        self._path = folder / f"counts-{os.getpid()}.json"
        self._counters = counters

    def write(self) -> None:
        """Write the counts as they stand; readers see the file whole."""
        counts = [[name, label, value] for (name, label), value in sorted(self._counters.snapshot().items())]
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(counts), encoding="utf-8")
        draft.replace(self._path)

    def remove(self) -> None:
        """Take it away when the process ends."""
        self._path.unlink(missing_ok=True)
