"""Marker file of an unfinished restore; while it is in LUNGNODE_HOME, every command but ``restore`` is refused.

Without it, HOME after an interrupted restore would look like an empty or smaller node.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from db.engine.files import sync_folder
from lungnode.errors import CommandError

NAME = "restore.unfinished"
DRAFT = f".{NAME}"


@dataclass(frozen=True, slots=True)
class UnfinishedRestore:
    """Source folder of an unfinished restore, and its SQLite file outside of HOME, if any."""

    source: str
    database: str = ""


def mark(home: Path, restore: UnfinishedRestore) -> None:
    """Write and sync the marker file, before any other file of the restore."""
    draft = home / DRAFT
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(restore), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(home / NAME)
    sync_folder(home)


def unmark(home: Path) -> None:
    """Remove the marker file, after all files are synced."""
    (home / NAME).unlink()
    sync_folder(home)


def unfinished_restore(home: Path) -> UnfinishedRestore | None:
    """Return the unfinished restore into this HOME, if any."""
    try:
        text = (home / NAME).read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        return UnfinishedRestore(**json.loads(text))
    except (ValueError, TypeError):
        return UnfinishedRestore("DIR")


def refuse_unfinished(home: Path) -> None:
    """Check that HOME has no unfinished restore.

    Raises
    ------
    CommandError
    """
    if (begun := unfinished_restore(home)) is not None:
        raise CommandError(
            f"{home} is incomplete: a restore was interrupted or is running; "
            f"run `lungnode restore {begun.source}` again"
        )
