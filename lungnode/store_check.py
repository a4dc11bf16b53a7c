"""``lungnode store verify``: every stored file is read and compared with what was received."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from lungnode.opening import open_database, read_settings

if TYPE_CHECKING:
    from db.archive import KeptFile
    from db.engine import Database
    from dicom_node.store import InstanceStore

app = typer.Typer(help="Stored files.", no_args_is_help=True)


@app.callback()
def _store() -> None:
    """Keep the group a group though it has one command."""


@app.command("verify")
def verify() -> int:
    """Read every stored file and compare it with its digest; prints one JSON object for each that is not whole.

    The last line counts. What is damaged is mended when the same instance is sent again (`lungnode retrieve --again`).
    """
    from db import audit
    from db.domain import AuditEvent
    from lungnode.wiring import open_store

    settings, checked, wrong = read_settings(), 0, 0
    with open_database(settings) as database, open_store(settings) as store:
        for file, problem in examine(database, store):
            checked += 1
            if problem:
                wrong += 1
                told = {"study_instance_uid": file.study_instance_uid, "sop_instance_uid": file.sop_instance_uid}
                print(json.dumps({"problem": problem, **told, "path": file.path}), flush=True)
        outcome, details = "failure" if wrong else "success", {"files": checked, "wrong": wrong}
        with database.begin() as session:
            audit.append(session, AuditEvent("store:verified", "system", "", outcome, dict(details)))
    print(json.dumps(details))
    return 1 if wrong else 0


def examine(database: Database, store: InstanceStore) -> Iterator[tuple[KeptFile, str]]:
    """Look at every file that a row names; gives what is wrong with it, or nothing."""
    from db.archive import kept_files

    after = ""
    while True:
        with database.read() as session:
            files = kept_files(session, after)
        if not files:
            return
        for file in files:
            yield file, _problem(database, store, file)
        after = files[-1].sop_instance_uid


def _problem(database: Database, store: InstanceStore, file: KeptFile) -> str:
    from db.purge import named_paths

    is_kept = store.files.exists(file.path)
    if is_kept and (not file.sha256 or store.is_whole(file.path, file.sha256)):
        return ""
    with database.read() as session:
        if not named_paths(session, [file.path]):
            return ""  # purged in this very moment
    return "damaged" if is_kept else "missing"
