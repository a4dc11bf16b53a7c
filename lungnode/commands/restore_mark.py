"""The mark of a restore that has not ended: while it lies in LUNGNODE_HOME, every command but ``restore`` refuses.

Without it, a restore that was killed would leave a HOME that looks like an empty or a smaller node, and
`lungnode serve` would go on from there.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from lungnode.errors import CommandError

NAME = "restore.unfinished"
DRAFT = f".{NAME}"


@dataclass(frozen=True, slots=True)
class UnfinishedRestore:
    """What a restore has begun: from which folder, and into which SQLite file outside of HOME, if into one."""

    source: str
    database: str = ""


def mark(home: Path, restore: UnfinishedRestore) -> None:
    """Write the mark, synced, before anything else of the restore."""
    draft = home / DRAFT
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(restore), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(home / NAME)
    sync_folder(home)


def unmark(home: Path) -> None:
    """Remove the mark: all that the restore had to bring is there and synced."""
    (home / NAME).unlink()
    sync_folder(home)


def unfinished_restore(home: Path) -> UnfinishedRestore | None:
    """Give what a restore into this HOME began and did not end."""
    try:
        text = (home / NAME).read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        return UnfinishedRestore(**json.loads(text))
    except (ValueError, TypeError):
        return UnfinishedRestore("DIR")


def refuse_unfinished(home: Path) -> None:
    """Refuse to work in a HOME that a restore did not finish.

    Raises
    ------
    CommandError
    """
    if (begun := unfinished_restore(home)) is not None:
        raise CommandError(
            f"{home} is incomplete: a restore was interrupted or is under way; "
            f"run `lungnode restore {begun.source}` again"
        )


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
