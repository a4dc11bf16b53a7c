"""``lungnode store``: verify stored files by their digests, and re-index files missing from the database."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from lungnode.commands.context import open_database, read_settings, who
from lungnode.errors import CommandError

if TYPE_CHECKING:
    from db.archive.index import IndexedFile
    from db.database import Database
    from dicom_node.storage.instance_store import InstanceStore

PROGRESS_EVERY = 1000

app = typer.Typer(help="Stored files.", no_args_is_help=True)


@app.command("verify")
def verify() -> int:
    """Compare every stored file with its digest; prints one JSON object for each damaged or missing file.

    The last line counts. A damaged file is repaired when its instance is received again (`lungnode retrieve --force`);
    a damaged or missing result is created again by a worker.
    """
    from db.audit import trail as audit
    from db.domain.audit import AuditEvent
    from dicom_node.storage.integrity import report
    from lungnode.wiring.base import open_store

    settings, checked, wrong = read_settings(), 0, 0
    with open_database(settings) as database, open_store(settings) as store:
        for file, problem in examine(database, store):
            checked += 1
            if problem:
                wrong += 1
                with database.begin() as session:
                    report(session, file.path, {"problem": problem})
                uids = {"study_instance_uid": file.study_instance_uid, "sop_instance_uid": file.sop_instance_uid}
                print(json.dumps({"problem": problem, **uids, "path": file.path}), flush=True)
        outcome, details = "failure" if wrong else "success", {"files": checked, "wrong": wrong}
        with database.begin() as session:
            audit.append(session, AuditEvent("store:verified", "system", "", outcome, dict(details)))
    print(json.dumps(details))
    return 1 if wrong else 0


@app.command("reindex")
def reindex_files() -> int:
    """Re-index stored files missing from the database, as after it was restored from an older backup.

    Prints one JSON object for each file that could not be indexed, and a last line that counts; no file is changed.
    Safe while the service runs: indexed series are analysed as if they had just been received.
    """
    from db.audit import trail as audit
    from db.domain.audit import AuditEvent
    from dicom_node.intake.reindex import reindex
    from lungnode.wiring.base import build_intake, open_store

    settings, counts = read_settings(), {"files": 0, "indexed": 0, "left": 0}
    with open_database(settings) as database, open_store(settings) as store, database.advisory_lock("purge") as is_ours:
        if not is_ours:
            raise CommandError("a purge is running; try again when it has finished")
        for file in reindex(database, store, build_intake(settings, store, database)):
            counts["files"] += 1
            counts["indexed"] += file.is_new
            if file.problem:
                counts["left"] += 1
                print(json.dumps({"problem": file.problem, "path": file.path}), flush=True)
            if counts["files"] % PROGRESS_EVERY == 0:
                print(json.dumps(counts), file=sys.stderr, flush=True)
        with database.begin() as session:
            outcome = "failure" if counts["left"] else "success"
            audit.append(session, AuditEvent("store:reindexed", who(), "", outcome, dict(counts)))
    print(json.dumps(counts))
    return 1 if counts["left"] else 0


def examine(database: Database, store: InstanceStore) -> Iterator[tuple[IndexedFile, str]]:
    """Yield every indexed file with its problem (``damaged``, ``missing`` or an empty text)."""
    from db.archive.index import indexed_files

    after = ""
    while True:
        with database.read() as session:
            files = indexed_files(session, after)
        if not files:
            return
        for file in files:
            yield file, _problem(database, store, file)
        after = files[-1].sop_instance_uid


def _problem(database: Database, store: InstanceStore, file: IndexedFile) -> str:
    from db.archive.purge import named_paths

    is_stored = store.files.exists(file.path)
    if is_stored and not _is_damaged(store, file):
        return ""
    with database.read() as session:
        if not named_paths(session, [file.path]):
            return ""  # purged meanwhile
    return "damaged" if is_stored else "missing"


def _is_damaged(store: InstanceStore, file: IndexedFile) -> bool:
    from dicom_node.storage.files import RESULTS
    from dicom_node.storage.integrity import is_damaged

    if not file.path.startswith(f"{RESULTS}/"):
        return not store.matches_digest(file.path, file.sha256)
    return is_damaged(store.absolute(file.path), file.sha256)
