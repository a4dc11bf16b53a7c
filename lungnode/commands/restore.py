"""Restore of a backup into an empty LUNGNODE_HOME and an empty database; an interrupted restore can be rerun.

A marker file (``lungnode.commands.restore_mark``) is in HOME from before the first file until after the last, so HOME
is unchanged, refused by every command, or completely restored. PostgreSQL's tables are restored in one transaction.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePosixPath

from sqlalchemy.engine import URL, make_url

from db.engine.files import sync_folder
from lungnode.commands import postgres_tools
from lungnode.commands.backup import Manifest, claimed, copy_file, file_sha256, make_folder, read_manifest, sqlite_path
from lungnode.commands.restore_mark import DRAFT, NAME, UnfinishedRestore, mark, unfinished_restore, unmark
from lungnode.errors import BackupError
from lungnode.settings.service import Settings

_COMPANIONS = ("-wal", "-shm", "-journal")


def restore_backup(settings: Settings, source: Path) -> Manifest:
    """Restore a backup and verify its audit chain.

    After an interrupted restore, files already restored from this backup are kept and all others replaced.

    Raises
    ------
    BackupError
        The backup is incomplete or altered, HOME or the database is not empty, or the audit chain is broken.
    """
    source = source.absolute()
    manifest = read_manifest(source)
    is_new = not settings.home.exists()
    make_folder(settings.home)
    try:
        with claimed(settings.home, f"a restore into {settings.home} is already running"):
            _restore(settings, source, manifest)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # empty if nothing was restored
                settings.home.rmdir()
        raise
    _check_chain(settings)
    return manifest


def _restore(settings: Settings, source: Path, manifest: Manifest) -> None:
    url = make_url(settings.database_url)
    begun = unfinished_restore(settings.home)
    _check_restorable(settings, manifest, url, begun)
    if begun is None:
        mark(settings.home, UnfinishedRestore(str(source), str(sqlite_path(url) or "")))
    try:
        _check_digests(source, manifest)
    except BaseException:
        if begun is None:
            unmark(settings.home)
        raise
    _restore_files(settings.home, source, manifest)
    database = sqlite_path(url)
    if database is not None:
        _restore_sqlite(database, source / "database", manifest.files["database"])
    elif begun is None or not _is_loaded(settings):
        postgres_tools.load(url, source / "database")
    for folder, _, _ in os.walk(settings.home):
        sync_folder(Path(folder))
    sync_folder(settings.home.parent)
    unmark(settings.home)


def _restore_files(home: Path, source: Path, manifest: Manifest) -> None:
    """Copy the files of HOME, and remove all others of an earlier attempt."""
    targets = {home.joinpath(*PurePosixPath(name).parts[1:]): name for name in manifest.files if name != "database"}
    for folder, _, names in os.walk(home):
        for path in (Path(folder) / name for name in names):
            if path not in targets and path != home / NAME:
                path.unlink()
    for path, name in targets.items():
        if not (path.is_file() and file_sha256(path) == manifest.files[name]):
            make_folder(path.parent)
            _copy_atomically(source / name, path, manifest.files[name])


def _restore_sqlite(database: Path, source: Path, sha256: str) -> None:
    for ending in _COMPANIONS:
        database.with_name(database.name + ending).unlink(missing_ok=True)
    make_folder(database.parent)
    _copy_atomically(source, database, sha256)
    sync_folder(database.parent)


def _copy_atomically(source: Path, target: Path, sha256: str) -> None:
    """Copy a file through a temporary name, checking its digest."""
    draft = target.with_name(f".{target.name}.partial")
    draft.unlink(missing_ok=True)
    if copy_file(source, draft) != sha256:
        raise BackupError(f"{source} changed while being read")
    draft.replace(target)


def _is_loaded(settings: Settings) -> bool:
    """Return whether the interrupted restore had loaded PostgreSQL's tables (one transaction)."""
    from db.engine.schema import current

    return current(settings.database_url) is not None


def _check_restorable(settings: Settings, manifest: Manifest, url: URL, begun: UnfinishedRestore | None) -> None:
    if begun is None and any(path.name != DRAFT for path in settings.home.iterdir()):
        raise BackupError("LUNGNODE_HOME is not empty; a restore needs an empty or new folder")
    if url.get_backend_name() != manifest.backend:
        raise BackupError(
            f"this backup is of {manifest.backend}; set LUNGNODE_DATABASE__URL to a database of that kind"
        )
    database = sqlite_path(url)
    if database is not None and database.exists() and (begun is None or begun.database != str(database)):
        raise BackupError("the database that LUNGNODE_DATABASE__URL names exists; a restore never overwrites")
    if database is None and begun is None:
        postgres_tools.check_empty(url)
    if database is None and begun is not None and _is_loaded(settings):
        _check_same(settings, manifest)


def _check_digests(source: Path, manifest: Manifest) -> None:
    for name, sha256 in manifest.files.items():
        path = source / name
        if not path.is_file() or file_sha256(path) != sha256:
            raise BackupError(f"this backup is damaged: {name} is missing or altered")


def _check_same(settings: Settings, manifest: Manifest) -> None:
    """Check that the database's revision is the backup's."""
    from db.engine.schema import current

    if current(settings.database_url) != manifest.revision:
        raise BackupError("the database that LUNGNODE_DATABASE__URL names is not empty; a restore never overwrites")


def _check_chain(settings: Settings) -> None:
    from db.audit.verification import verify
    from db.database import Database, open_audit_key

    database = Database(settings.database_url, open_audit_key(settings.database_url, settings.audit_key_path))
    try:
        if not verify(database).is_intact:
            raise BackupError("restored, but the audit chain is broken: run `lungnode audit verify`")
    finally:
        database.dispose()
