"""Online backup of databases, stored files and keys.

::

    target/manifest.json          the backup's contents, with the digest of every file
    target/database               a copy of the SQLite database, or PostgreSQL's custom-format dump
    target/home/...               LUNGNODE_HOME without the database and files being received

The database is copied before the stored files: a file is written before its row is committed, so every row of the copy
has its file. Other SQLite files of HOME (the job queue) are copied before the database: a job that is queued twice is
harmless, a job that is lost is not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from sqlalchemy.engine import URL, make_url

from db.engine.files import sync_folder, write_synced
from lungnode.commands import postgres_tools
from lungnode.errors import BackupError
from lungnode.settings.service import Settings

FORMAT = 1
_SQLITE_MAGIC = b"SQLite format 3\0"
_COMPANIONS = ("-wal", "-shm", "-journal", "-lock", "-turn")
_TRANSIENT = (Path("store/incoming"), Path("cache"), Path("run"), Path("scratch"))
"""Folders of HOME whose content is only valid while the service runs."""
_BLOCK = 1 << 20
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY


@dataclass(frozen=True, slots=True)
class Manifest:
    """Contents of a backup; ``files`` maps a path inside the backup to the SHA-256 of its content."""

    format: int
    version: str
    created_at: str
    backend: str
    revision: str
    files: dict[str, str]

    def summary(self) -> dict[str, object]:
        """Return the fields without the list of files."""
        fields = {name: value for name, value in asdict(self).items() if name != "files"}
        return {**fields, "file_count": len(self.files)}


def create_backup(settings: Settings, target: Path) -> Manifest:
    """Copy database, stored files and keys into the new folder ``target``.

    Raises
    ------
    BackupError
        The backup failed; ``target`` does not exist.
    """
    target = target.absolute()
    _check_target(settings, target)
    draft = target.with_name(f"{target.name}.partial")
    draft.mkdir(mode=0o700, parents=True, exist_ok=True)
    with claimed(draft, f"a backup into {draft} is already running"):
        try:
            _clear(draft)
            manifest = _fill(settings, draft)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    sync_folder(target.parent)
    return manifest


@contextlib.contextmanager
def claimed(folder: Path, message: str) -> Iterator[None]:
    """Hold an exclusive lock on a folder; it is released when the process ends.

    Raises
    ------
    BackupError
        Another process holds it; with ``message``.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(message) from None
        yield
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    """Remove the files of an interrupted backup."""
    for leftover in folder.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()


def _check_target(settings: Settings, target: Path) -> None:
    if target.exists():
        raise BackupError(f"{target} exists; specify a new folder")
    if target.is_relative_to(settings.home):
        raise BackupError("the backup must not be inside LUNGNODE_HOME; specify another folder")
    if not settings.audit_key_path.is_file():
        raise BackupError("nothing to back up: LUNGNODE_HOME has no audit key (is it the right folder?)")


def _fill(settings: Settings, draft: Path) -> Manifest:
    from db.engine.schema import current

    url = make_url(settings.database_url)
    home = settings.home.resolve()
    database = sqlite_path(url)
    files: dict[str, str] = {}
    listed = list(_home_files(home, database))
    for path in (path for path in listed if _is_sqlite(path)):
        _add_file(files, draft, home, path)
    _dump(url, draft / "database")
    files["database"] = file_sha256(draft / "database")
    for path in _home_files(home, database):
        if not _is_sqlite(path):
            _add_file(files, draft, home, path)
    manifest = Manifest(
        format=FORMAT,
        version=version("lungnode"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        backend=url.get_backend_name(),
        revision=current(settings.database_url) or "",
        files=files,
    )
    write_synced(draft / "manifest.json", json.dumps(asdict(manifest), indent=1).encode())
    return manifest


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite database; None for PostgreSQL."""
    return Path(str(url.database)).resolve() if url.get_backend_name() == "sqlite" else None


def _home_files(home: Path, database: Path | None) -> Iterator[Path]:
    """Yield the files of HOME to back up: no database, no SQLite companion files, no transient folders."""
    for folder, folders, names in os.walk(home):
        parent = Path(folder)
        folders[:] = sorted(name for name in folders if (parent / name).relative_to(home) not in _TRANSIENT)
        for name in sorted(names):
            path = parent / name
            if path != database and not name.endswith(_COMPANIONS) and path.is_file() and not path.is_symlink():
                yield path


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    except FileNotFoundError:  # the oldest upload images are deleted meanwhile
        return False


def _add_file(files: dict[str, str], draft: Path, home: Path, path: Path) -> None:
    name = PurePosixPath("home", *path.relative_to(home).parts)
    copy = draft / name
    make_folder(copy.parent)
    if _is_sqlite(path):
        _copy_sqlite(path, copy)
        files[str(name)] = file_sha256(copy)
    else:
        with contextlib.suppress(FileNotFoundError):
            files[str(name)] = copy_file(path, copy)


def _dump(url: URL, copy: Path) -> None:
    database = sqlite_path(url)
    if database is None:
        postgres_tools.dump(url, copy)
    elif database.is_file():
        _copy_sqlite(database, copy)
    else:
        raise BackupError("the database of LUNGNODE_DATABASE__URL does not exist")


def _copy_sqlite(path: Path, copy: Path) -> None:
    """Copy a database that is in use (SQLite's online backup API)."""
    os.close(os.open(copy, _NEW_FILE, 0o600))
    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    target = sqlite3.connect(copy)
    try:
        source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
        (state,) = target.execute("PRAGMA quick_check").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"a SQLite file could not be copied ({type(error).__name__}); try again") from None
    finally:
        target.close()
        source.close()
    if state != "ok":
        raise BackupError("the database is damaged: restore an earlier backup")
    _sync_file(copy)


def copy_file(path: Path, copy: Path) -> str:
    """Copy a file with mode 0600, fsync it, and return its SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as source, os.fdopen(os.open(copy, _NEW_FILE, 0o600), "wb") as target:
        while block := source.read(_BLOCK):
            digest.update(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents with mode 0700."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_manifest(source: Path) -> Manifest:
    """Read and check the manifest of a backup.

    Raises
    ------
    BackupError
        The folder is no backup, or has a newer format.
    """
    try:
        manifest = Manifest(**json.loads((source / "manifest.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise BackupError(f"{source} is not a backup: manifest.json is missing or unreadable") from None
    if manifest.format != FORMAT:
        raise BackupError("this backup was written by a newer version; install that version to restore it")
    if not all(_is_inside(name) for name in manifest.files) or "database" not in manifest.files:
        raise BackupError("the manifest of this backup was altered")
    return manifest


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name == "database" or (len(parts) > 1 and parts[0] == "home" and ".." not in parts)
