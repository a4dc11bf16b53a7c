"""``lungnode store``: stored files are compared with what was received; those that no row names are taken up."""

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
    """Read every stored file and compare it with its digest; prints one JSON object for each that is not whole.

    The last line counts. What is damaged is mended when the same instance is sent again (`lungnode retrieve --again`).
    """
    from db.audit import trail as audit
    from db.domain.records import AuditEvent
    from db.monitoring import faults
    from lungnode.wiring.base import open_store

    settings, checked, wrong = read_settings(), 0, 0
    with open_database(settings) as database, open_store(settings) as store:
        for file, problem in examine(database, store):
            checked += 1
            if problem:
                wrong += 1
                with database.begin() as session:
                    faults.report(session, faults.DAMAGED_FILE, file.path, {"problem": problem})
                told = {"study_instance_uid": file.study_instance_uid, "sop_instance_uid": file.sop_instance_uid}
                print(json.dumps({"problem": problem, **told, "path": file.path}), flush=True)
        outcome, details = "failure" if wrong else "success", {"files": checked, "wrong": wrong}
        with database.begin() as session:
            audit.append(session, AuditEvent("store:verified", "system", "", outcome, dict(details)))
    print(json.dumps(details))
    return 1 if wrong else 0


@app.command("adopt")
def adopt_files() -> int:
    """Take up stored instances that the database does not know, as after it was restored from an older backup.

    Prints one JSON object for each file that was not taken up, and a last line that counts; no file is changed. Safe
    while the service runs: it analyses what was taken up as if it had just come.
    """
    from db.audit import trail as audit
    from db.domain.records import AuditEvent
    from dicom_node.intake.reindex import reindex
    from lungnode.wiring.base import build_intake, open_store

    settings, counts = read_settings(), {"files": 0, "adopted": 0, "left": 0}
    with open_database(settings) as database, open_store(settings) as store, database.advisory_lock("purge") as is_ours:
        if not is_ours:
            raise CommandError("a purge is under way; try again when it has ended")
        for found in reindex(database, store, build_intake(settings, store, database)):
            counts["files"] += 1
            counts["adopted"] += found.is_new
            if found.problem:
                counts["left"] += 1
                print(json.dumps({"problem": found.problem, "path": found.path}), flush=True)
            if counts["files"] % PROGRESS_EVERY == 0:
                print(json.dumps(counts), file=sys.stderr, flush=True)
        with database.begin() as session:
            outcome = "failure" if counts["left"] else "success"
            audit.append(session, AuditEvent("store:adopted", who(), "", outcome, dict(counts)))
    print(json.dumps(counts))
    return 1 if counts["left"] else 0


def examine(database: Database, store: InstanceStore) -> Iterator[tuple[IndexedFile, str]]:
    """Look at every file that a row names; gives what is wrong with it, or nothing."""
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

    is_kept = store.files.exists(file.path)
    if is_kept and (not file.sha256 or store.matches_digest(file.path, file.sha256)):
        return ""
    with database.read() as session:
        if not named_paths(session, [file.path]):
            return ""  # purged in this very moment
    return "damaged" if is_kept else "missing"
