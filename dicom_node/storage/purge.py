"""Retention on disk: files of purged studies are deleted in two steps, so that a resent instance is never lost.

A sender may be sending an instance again in the very moment in which it is purged, and its file reused for that. So
files are first moved aside, and removed only some time later, unless a row names them again by then.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import shutil
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from db.archive import purge as records
from db.database import Database
from db.engine.files import write_synced
from db.monitoring import clock
from db.monitoring.clock import Clocks, read_clocks
from dicom_node.storage.instance_store import InstanceStore

_log = logging.getLogger(__name__)

FOLDER = "purged"
GRACE = timedelta(seconds=60)
"""Longer than any sender takes from naming a file to committing its row."""


@dataclass(frozen=True, slots=True)
class PurgeRound:
    """Counts of purged studies and deleted files (of this round and of earlier ones), or why none."""

    study_count: int = 0
    file_count: int = 0
    clock_jump: timedelta | None = None
    """Jump of the clock for which nothing was removed (``db.monitoring.clock``), or None."""


def purged_paths(root: Path) -> set[str]:
    """Return the files of a store that belong to studies being purged."""
    entries = [_read_journal(journal) for journal in (root / FOLDER).glob("*.json")]
    return {path for entry in entries if entry is not None for path in entry["paths"]}


def _read_journal(journal: Path) -> dict[str, Any] | None:
    """Read when which files were purged; None where it was settled meanwhile, or never completed."""
    try:
        return dict(json.loads(journal.read_text(encoding="ascii")))
    except (FileNotFoundError, ValueError):
        return None


class Purge:
    """Purges studies older than ``keep``.

    Parameters
    ----------
    keep
        How long a study stays after the last instance arrived.
    clocks
        The clocks of this machine; only tests give others.
    """

    def __init__(
        self,
        database: Database,
        store: InstanceStore,
        keep: timedelta,
        grace: timedelta = GRACE,
        clocks: Clocks = read_clocks,
    ) -> None:
        self._database = database
        self._store = store
        self._keep = keep
        self._grace = grace
        self._clocks = clocks
        self._folder = store.root / FOLDER

    def run(self) -> PurgeRound:
        """Purge what is due, and delete files of earlier rounds; nothing while the clock is not trusted."""
        moment = self._clocks()
        with self._database.begin() as session:
            jump = clock.observe(session, moment, self._keep)
        if jump is not None:
            _log.error("purge:refused", extra={"code": "clock"})
            return PurgeRound(clock_jump=jump)
        now = moment.wall
        received_before = now - self._keep
        removed = self._finish(now)
        with self._database.read() as session:
            due = records.purgeable_studies(session, received_before)
        purged = sum(self._purge(study_id, received_before, now) for study_id in due)
        with self._database.begin() as session:
            records.purge_commitments(session, received_before)
        if due:
            records.truncate_log(self._database)
            _log.info("purge:done", extra={"count": purged, "object_count": removed})
        return PurgeRound(purged, removed)

    def _purge(self, study_id: str, received_before: datetime, now: datetime) -> int:
        """Delete a study's rows; the journal of its files is on disk before they are gone."""
        journal = self._folder / f"{secrets.token_hex(8)}.json"
        with self._database.begin() as session:
            paths = records.purge_study(session, study_id, received_before)
            if paths:
                self._write(journal, paths, now)
        if paths:
            self._move(journal, paths, frozenset())
        return int(bool(paths))

    def _write(self, journal: Path, paths: Sequence[str], now: datetime) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        entry = {"at": now.isoformat(), "paths": list(paths)}
        write_synced(journal, json.dumps(entry).encode("ascii"))

    def _move(self, journal: Path, paths: Sequence[str], indexed_paths: Set[str]) -> None:
        aside = journal.with_suffix("")
        aside.mkdir(mode=0o700, exist_ok=True)
        for number, path in enumerate(paths):
            if path in indexed_paths:
                continue
            with contextlib.suppress(FileNotFoundError):
                self._store.files.move(path, f"{FOLDER}/{aside.name}/{number}")

    def _finish(self, now: datetime) -> int:
        removed = 0
        for journal in sorted(self._folder.glob("*.json")):
            entry = _read_journal(journal)
            if entry is not None and abs(now - datetime.fromisoformat(entry["at"])) >= self._grace:  # set back, perhaps
                removed += self._remove(journal, entry["paths"])
        return removed

    def _remove(self, journal: Path, paths: Sequence[str]) -> int:
        with self._database.read() as session:
            indexed_paths = records.named_paths(session, paths)
        aside = journal.with_suffix("")
        if not aside.exists():  # killed between the journal and the files: the next round removes what no row names
            self._move(journal, paths, indexed_paths)
            return 0
        removed = sum(
            self._settle(f"{FOLDER}/{aside.name}/{number}", path, is_named=path in indexed_paths)
            for number, path in enumerate(paths)
        )
        shutil.rmtree(aside)
        journal.unlink()
        return removed

    def _settle(self, moved: str, path: str, *, is_named: bool) -> bool:
        """Delete a file that was moved aside, or restore it where a row names it again."""
        files = self._store.files
        if not files.exists(moved):
            return False
        if is_named and not files.exists(path):
            files.move(moved, path)
            return False
        files.remove(moved)
        with contextlib.suppress(OSError):
            (files.root / path).parent.rmdir()
        return True
