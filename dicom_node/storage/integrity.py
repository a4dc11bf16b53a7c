"""Integrity checks of stored files before they are sent or analysed.

The name of a stored instance is a digest of its SOP Instance UID and of its dataset's digest (``store.path_of``), so a
file is checked against its own name, with no look into the index. A result is checked against the digest that the index
recorded when it was made, and is made again where it is damaged. Other files are taken as they are. Digesting half a
megabyte takes about a millisecond. Every file is digested each time, for bits that rot change no date; only large ones,
of which single frames are asked for, count as checked for ten minutes.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from sqlalchemy.orm import Session

from db.database import Database
from db.domain.errors import DbError
from db.domain.reasons import Reason
from db.monitoring import faults
from db.results.failures import request_remake
from db.results.objects import result_digests
from dicom_node.storage.files import INSTANCES, RESULTS, Files, LocalFiles
from dicom_node.storage.instance_store import InstanceStore, content_name

_log = logging.getLogger(__name__)

CODE = faults.DAMAGED_FILE
REASON = Reason(
    "damaged_file",
    "A stored file is damaged: its content has changed. Retrieve the study again; results are created again.",
)
LARGE_BYTES = 16 << 20
TRUSTED_S = 600.0
"""Time for which a large file with unchanged inode, size and dates counts as checked."""
REPORT_EVERY_S = 60.0
"""Interval between reports of the same damaged file."""
REMEMBERED = 4096
_ADDRESS = re.compile(rf"{INSTANCES}/[0-9a-f]{{2}}/[0-9a-f]{{62}}/[0-9a-f]{{64}}\.dcm")


def file_sha256(path: Path) -> str:
    """Return the digest of a result file.

    Raises
    ------
    OSError
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_damaged(path: Path, sha256: str = "") -> bool:
    """Return whether a file contradicts ``sha256``, or else its name; False for a missing file or without digest."""
    if not sha256 and not _ADDRESS.fullmatch("/".join(path.parts[-4:])):
        return False
    try:
        return file_sha256(path) != sha256 if sha256 else content_name(path) != path.name
    except FileNotFoundError:
        return False
    except OSError:
        return True  # the disk cannot read it


class Integrity:
    """Checks stored files and reports damaged ones; thread-safe.

    Parameters
    ----------
    database
        Where faults are reported (``db.monitoring.faults``), and where the digests of results are; None for neither.
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
        DbError
            The digests of results cannot be read.
        """
        digests = self._result_digests(paths)
        damaged_paths = tuple(
            path
            for path, local_path in zip(paths, self._files.fetch(paths), strict=True)
            if self._is_damaged(path, local_path, digests.get(path, ""))
        )
        for path in damaged_paths:
            self._report(path)
        return damaged_paths

    def _result_digests(self, paths: Sequence[str]) -> dict[str, str]:
        results = [path for path in paths if path.startswith(f"{RESULTS}/")]
        if not results or self._database is None:
            return {}
        with self._database.read() as session:
            return result_digests(session, results)

    def _is_damaged(self, path: str, local_path: Path, sha256: str) -> bool:
        if self._is_trusted(local_path, sha256) or not is_damaged(local_path, sha256):
            return False
        if isinstance(self._files, LocalFiles):
            return True
        local_path.unlink(missing_ok=True)
        return is_damaged(self._files.fetch([path])[0], sha256)

    def _is_trusted(self, local_path: Path, sha256: str) -> bool:
        """Return True if a large file was checked recently; notes that it is checked now."""
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
        if is_damaged(local_path, sha256):
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
                report(session, path)
        except DbError:
            _log.warning("audit:unavailable", extra={"code": CODE})


def report(session: Session, path: str, details: Mapping[str, object] | None = None) -> None:
    """Report a damaged file; a result is made again, where it is the first report."""
    if faults.report(session, CODE, path, details) and path.startswith(f"{RESULTS}/"):
        request_remake(session, path)


def recheck(database: Database, store: InstanceStore, *, limit: int = 200) -> None:
    """Check damaged files again; one that was retrieved again, or has no row any more, is no fault."""
    from db.archive.purge import named_paths

    with database.read() as session:
        paths = [fault.subject for fault in faults.faults(session, code=CODE, limit=limit)]
        indexed_paths, digests = named_paths(session, paths), result_digests(session, paths)
    for path in paths:
        is_mended = path not in indexed_paths or (
            store.files.exists(path) and not is_damaged(store.absolute(path), digests.get(path, ""))
        )
        if is_mended:
            with database.begin() as session:
                faults.mend(session, CODE, path)
