"""Integrity checks of stored files before they are sent or analysed.

The name of a stored instance is a digest of its SOP Instance UID and of its dataset's digest (``store.path_of``), so a
file is checked against its own name, with no look into the index. Files that are named otherwise are taken as they are.
Digesting half a megabyte takes about a millisecond. Every file is digested each time, for bits that rot change no date;
only large ones, of which single frames are asked for, count as checked for ten minutes.
"""

from __future__ import annotations

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from db.database import Database
from db.domain.errors import DbError
from db.domain.records import Reason
from db.monitoring import faults
from dicom_node.storage.files import INSTANCES, Files, LocalFiles
from dicom_node.storage.instance_store import InstanceStore, content_name

_log = logging.getLogger(__name__)

CODE = faults.DAMAGED_FILE
REASON = Reason(
    "damaged_file", "A stored file is damaged: its content differs from what was received. Retrieve the study again."
)
LARGE_BYTES = 16 << 20
TRUSTED_S = 600.0
"""How long a large file with unchanged inode, size and dates counts as checked."""
REPORT_EVERY_S = 60.0
"""How often the same damaged file is reported."""
REMEMBERED = 4096
_ADDRESS = re.compile(rf"{INSTANCES}/[0-9a-f]{{2}}/[0-9a-f]{{62}}/[0-9a-f]{{64}}\.dcm")


def is_damaged(path: Path) -> bool:
    """Whether a file's content contradicts its name; False for a missing file or a name without digest."""
    if not _ADDRESS.fullmatch("/".join(path.parts[-4:])):
        return False
    try:
        return content_name(path) != path.name
    except FileNotFoundError:
        return False
    except OSError:
        return True  # the disk cannot read it


class Integrity:
    """Checks stored files and reports damaged ones; thread-safe.

    Parameters
    ----------
    database
        Where faults are reported (``db.monitoring.faults``), if anywhere.
    files
        The store; what a cache of an object store holds damaged is fetched anew.
    """

    def __init__(self, database: Database | None, files: Files) -> None:
        self._database = database
        self._files = files
        self._lock = Lock()
        self._checked: OrderedDict[tuple[object, ...], float] = OrderedDict()
        self._reported: dict[str, float] = {}

    def damaged(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Return the damaged ones of stored files (relative paths), each reported as a fault.

        Raises
        ------
        StoreUnreachableError
        """
        damaged_paths = tuple(
            path
            for path, local_path in zip(paths, self._files.fetch(paths), strict=True)
            if self._is_damaged(path, local_path)
        )
        for path in damaged_paths:
            self._report(path)
        return damaged_paths

    def _is_damaged(self, path: str, local_path: Path) -> bool:
        if self._is_trusted(local_path) or not is_damaged(local_path):
            return False
        if isinstance(self._files, LocalFiles):
            return True
        local_path.unlink(missing_ok=True)
        return is_damaged(self._files.fetch([path])[0])

    def _is_trusted(self, local_path: Path) -> bool:
        """Whether a large file was checked recently; notes that it is checked now."""
        try:
            state = local_path.stat()
        except OSError:
            return False
        if state.st_size < LARGE_BYTES:
            return False
        key, now_s = (local_path, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns), time.monotonic()
        with self._lock:
            if now_s - self._checked.get(key, -TRUSTED_S) < TRUSTED_S:
                return True
        if is_damaged(local_path):
            return False
        with self._lock:
            self._checked[key] = now_s
            while len(self._checked) > REMEMBERED:
                self._checked.popitem(last=False)
        return True

    def _report(self, path: str) -> None:
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._reported.get(path, -REPORT_EVERY_S) < REPORT_EVERY_S:
                return
            if len(self._reported) > REMEMBERED:
                self._reported.clear()
            self._reported[path] = now_s
        _log.error("file:damaged", extra={"code": CODE})
        if self._database is None:
            return
        try:
            with self._database.begin() as session:
                faults.report(session, CODE, path)
        except DbError:
            _log.warning("audit:unavailable", extra={"code": CODE})


def recheck(database: Database, store: InstanceStore, *, limit: int = 200) -> None:
    """Check damaged files again; one that was retrieved again, or has no row any more, is no fault."""
    from db.archive.purge import named_paths

    with database.read() as session:
        paths = [fault.subject for fault in faults.faults(session, code=CODE, limit=limit)]
        indexed_paths = named_paths(session, paths)
    for path in paths:
        is_mended = path not in indexed_paths or (store.files.exists(path) and not is_damaged(store.absolute(path)))
        if is_mended:
            with database.begin() as session:
                faults.mend(session, CODE, path)
