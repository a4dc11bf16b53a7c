"""A backup of a node at work can be laid into an empty one; anything short of that is refused in words."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from db.audit.trail import append
from db.audit.verification import verify
from db.database import Database, load_or_create_audit_key
from db.domain.audit import AuditEvent
from db.engine.schema import upgrade
from lungnode.commands.backup import claimed, create_backup, read_manifest
from lungnode.commands.restore import restore_backup
from lungnode.commands.restore_mark import DRAFT, NAME, UnfinishedRestore, mark, refuse_unfinished
from lungnode.errors import BackupError, CommandError
from lungnode.settings.records import DatabaseSettings
from lungnode.settings.service import Settings


@pytest.fixture
def node(tmp_path: Path) -> Settings:
    """A node with an audited event, a stored file, a job queue, and something half-received."""
    settings = Settings(home=tmp_path / "home")
    load_or_create_audit_key(settings.audit_key_path)
    upgrade(settings.database_url)
    add_event(settings)
    stored = settings.store_root / "instances" / "ab" / "cd.dcm"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"DICM" * 1000)
    half = settings.store_root / "incoming" / "1" / "x.part"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    (settings.home / "run").mkdir()
    (settings.home / "run" / "worker.lock").touch()
    with sqlite3.connect(settings.home / "jobs.db") as jobs:
        jobs.execute("PRAGMA journal_mode=WAL")
        jobs.execute("CREATE TABLE job (id)")
        jobs.execute("INSERT INTO job VALUES (7)")
    jobs.close()
    return settings


def add_event(settings: Settings) -> None:
    database = Database(settings.database_url, load_or_create_audit_key(settings.audit_key_path))
    with database.begin() as session:
        append(session, AuditEvent("study:received", "test"))
    database.dispose()


def event_count(settings: Settings) -> int:
    database = Database(settings.database_url, load_or_create_audit_key(settings.audit_key_path))
    verification = verify(database)
    database.dispose()
    assert verification.is_intact
    return verification.event_count


def test_what_was_backed_up_comes_back(node: Settings, tmp_path: Path) -> None:
    manifest = create_backup(node, tmp_path / "backup")
    other = Settings(home=tmp_path / "other")
    assert restore_backup(other, tmp_path / "backup") == manifest
    assert event_count(other) == 1
    assert (other.store_root / "instances" / "ab" / "cd.dcm").read_bytes() == b"DICM" * 1000
    assert not (other.store_root / "incoming").exists()
    assert not (other.home / "run").exists()
    jobs = sqlite3.connect(other.home / "jobs.db")
    assert jobs.execute("SELECT id FROM job").fetchall() == [(7,)]
    jobs.close()
    assert manifest.summary()["file_count"] == 4


def test_no_other_account_can_read_a_backup(node: Settings, tmp_path: Path) -> None:
    create_backup(node, tmp_path / "backup")
    for path in [tmp_path / "backup", *(tmp_path / "backup").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_backup_is_taken_while_others_write(node: Settings, tmp_path: Path) -> None:
    stop, written = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            add_event(node)
            written.append(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        before = event_count(node)
        for number in range(3):
            create_backup(node, tmp_path / f"backup{number}")
    finally:
        stop.set()
        writer.join()
    counts = []
    for number in range(3):
        other = Settings(home=tmp_path / f"other{number}")
        restore_backup(other, tmp_path / f"backup{number}")
        counts.append(event_count(other))
    assert before <= counts[0] <= counts[1] <= counts[2] <= 1 + len(written)


def damage(path: str) -> Callable[[Path], None]:
    def flip(backup: Path) -> None:
        content = bytearray((backup / path).read_bytes())
        content[len(content) // 2] ^= 1
        (backup / path).write_bytes(content)

    return flip


def climb(backup: Path) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    manifest["files"]["home/../../escaped"] = "0" * 64
    (backup / "manifest.json").write_text(json.dumps(manifest))


def newer(backup: Path) -> None:
    manifest = json.loads((backup / "manifest.json").read_text())
    (backup / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage("database"), "damaged: database"),
        (damage("home/store/instances/ab/cd.dcm"), "damaged: home/store/instances/ab/cd.dcm"),
        (lambda backup: (backup / "home" / "audit.key").unlink(), "damaged: home/audit.key"),
        (lambda backup: (backup / "manifest.json").unlink(), "is not a backup"),
        (lambda backup: (backup / "manifest.json").write_text("{}"), "is not a backup"),
        (climb, "manifest of this backup was altered"),
        (newer, "newer version"),
    ],
)
def test_a_harmed_backup_restores_nothing(
    harm: Callable[[Path], None], words: str, node: Settings, tmp_path: Path
) -> None:
    create_backup(node, tmp_path / "backup")
    harm(tmp_path / "backup")
    other = Settings(home=tmp_path / "other")
    with pytest.raises(BackupError, match=words):
        restore_backup(other, tmp_path / "backup")
    assert not other.home.exists()


def test_a_restore_never_overwrites(node: Settings, tmp_path: Path) -> None:
    create_backup(node, tmp_path / "backup")
    with pytest.raises(BackupError, match="not empty"):
        restore_backup(node, tmp_path / "backup")
    assert event_count(node) == 1


def test_a_foreign_key_file_is_found_by_the_chain(node: Settings, tmp_path: Path) -> None:
    create_backup(node, tmp_path / "backup")
    key = tmp_path / "backup" / "home" / "audit.key"
    key.write_text("00" * 32 + "\n")
    manifest = json.loads((tmp_path / "backup" / "manifest.json").read_text())
    manifest["files"]["home/audit.key"] = __import__("hashlib").sha256(key.read_bytes()).hexdigest()
    (tmp_path / "backup" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BackupError, match="audit chain is broken"):
        restore_backup(Settings(home=tmp_path / "other"), tmp_path / "backup")


@pytest.mark.parametrize(
    ("target", "words"), [("home/backup", "inside LUNGNODE_HOME"), ("home", "exists"), ("busy", "already running")]
)
def test_a_bad_target_is_refused(target: str, words: str, node: Settings, tmp_path: Path) -> None:
    (tmp_path / "busy.partial").mkdir()
    with claimed(tmp_path / "busy.partial", ""), pytest.raises(BackupError, match=words):
        create_backup(node, tmp_path / target)


def test_a_killed_backup_blocks_nothing(node: Settings, tmp_path: Path) -> None:
    left = tmp_path / "backup.partial" / "home" / "store"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    (tmp_path / "backup.partial" / "database").write_bytes(b"half")
    create_backup(node, tmp_path / "backup")
    assert not (tmp_path / "backup" / "home" / "store" / "half").exists()
    assert not (tmp_path / "backup.partial").exists()
    restore_backup(Settings(home=tmp_path / "other"), tmp_path / "backup")


def test_an_empty_home_is_no_node(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="nothing to back up"):
        create_backup(Settings(home=tmp_path / "nothing"), tmp_path / "backup")


def test_a_failed_backup_leaves_nothing(node: Settings, tmp_path: Path) -> None:
    (node.home / "lungnode.db").unlink()
    for path in node.home.glob("lungnode.db-*"):
        path.unlink()
    with pytest.raises(BackupError, match="does not exist"):
        create_backup(node, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    assert not (tmp_path / "backup.partial").exists()


def test_a_manifest_reads_back(node: Settings, tmp_path: Path) -> None:
    manifest = create_backup(node, tmp_path / "backup")
    shutil.move(tmp_path / "backup", tmp_path / "moved")
    assert read_manifest(tmp_path / "moved") == manifest


def killed_at(call: int, action: Callable[[], object]) -> bool:
    """Run in a process that is killed at its so-manieth call for the file system; whether it came so far."""
    pid = os.fork()
    if not pid:
        calls = itertools.count(1)

        def kill(event: str, _arguments: object) -> None:
            if event.partition(".")[0] in {"open", "os", "sqlite3", "fcntl", "shutil"} and next(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def content(settings: Settings) -> dict[str, bytes]:
    """Files of a HOME, without the database, which another journal changes, and its companions."""
    files = (path for path in settings.home.rglob("*") if path.is_file() and not path.name.startswith("lungnode.db"))
    return {str(path.relative_to(settings.home)): path.read_bytes() for path in files}


def test_a_killed_restore_leaves_nothing_or_a_home_that_is_refused_or_all_of_it(node: Settings, tmp_path: Path) -> None:
    create_backup(node, tmp_path / "backup")
    complete = Settings(home=tmp_path / "whole")
    restore_backup(complete, tmp_path / "backup")
    expected, states = content(complete), []
    for call in itertools.count(1):
        other = Settings(home=tmp_path / f"other{call}")
        if not killed_at(call, partial(restore_backup, other, tmp_path / "backup")):
            break
        if not other.home.exists() or not [path for path in other.home.iterdir() if path.name != DRAFT]:
            states.append("nothing")
        elif (other.home / NAME).exists():
            states.append("refused")
            with pytest.raises(CommandError, match=f"run `lungnode restore {tmp_path}/backup` again"):
                refuse_unfinished(other.home)
        else:
            states.append("whole")
            assert content(other) == expected
            assert event_count(other) == 1
            continue
        restore_backup(other, tmp_path / "backup")
        assert content(other) == expected
        assert event_count(other) == 1
    assert states == sorted(states, key=["nothing", "refused", "whole"].index)
    assert min(states.count(state) for state in ("nothing", "refused", "whole")) >= 1
    assert states.count("refused") >= 12


def test_another_backup_may_follow_an_interrupted_restore(node: Settings, tmp_path: Path) -> None:
    create_backup(node, tmp_path / "early")
    (node.store_root / "instances" / "ab" / "cd.dcm").rename(node.store_root / "instances" / "ab" / "ef.dcm")
    add_event(node)
    create_backup(node, tmp_path / "late")
    other = Settings(home=tmp_path / "other")
    restore_backup(other, tmp_path / "early")
    mark(other.home, UnfinishedRestore(str(tmp_path / "early"), str(other.home / "lungnode.db")))
    restore_backup(other, tmp_path / "late")
    assert event_count(other) == 2
    assert [path.name for path in (other.store_root / "instances" / "ab").iterdir()] == ["ef.dcm"]


def test_a_database_elsewhere_that_is_not_the_restores_is_never_overwritten(node: Settings, tmp_path: Path) -> None:
    create_backup(node, tmp_path / "backup")
    other = Settings(home=tmp_path / "other", database=DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path}/a.db")))
    other.home.mkdir()
    mark(other.home, UnfinishedRestore(str(tmp_path / "backup"), ""))
    (tmp_path / "a.db").write_bytes(b"records")
    with pytest.raises(BackupError, match="exists; a restore never overwrites"):
        restore_backup(other, tmp_path / "backup")
    assert (tmp_path / "a.db").read_bytes() == b"records"


def call_count(action: Callable[[], object]) -> int:
    """Return how many calls for the file system an action makes."""
    low, high = 1, 2
    while killed_at(high, action):
        low, high = high, 2 * high
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if killed_at(middle, action) else (low, middle)
    return low


def test_a_killed_backup_blocks_no_next_one_and_is_restored_or_refused(node: Settings, tmp_path: Path) -> None:
    complete = Settings(home=tmp_path / "whole")
    create_backup(node, tmp_path / "expected")
    restore_backup(complete, tmp_path / "expected")
    expected, states = content(complete), []
    numbers = itertools.count()
    count = call_count(lambda: create_backup(node, tmp_path / f"counted{os.getpid()}"))
    for call in [*range(1, count - 12, max(1, count // 12)), *range(count - 12, count + 1)]:
        target = tmp_path / f"backup{next(numbers)}"
        assert killed_at(call, partial(create_backup, node, target))
        draft = target.with_name(f"{target.name}.partial")
        assert not (target.exists() and draft.exists())
        if target.exists():
            states.append("complete")
            with pytest.raises(BackupError, match=f"^{target} exists; specify a new folder$"):
                create_backup(node, target)
            create_backup(node, target.with_name(f"{target.name}-next"))
        else:
            states.append("partial" if draft.exists() else "nothing")
            assert_restored_or_refused(draft, Settings(home=tmp_path / f"early{call}"), expected)
            create_backup(node, target)
            assert not draft.exists()
        assert_restored(target, Settings(home=tmp_path / f"other{call}"), expected)
    assert states == sorted(states, key=["nothing", "partial", "complete"].index)
    assert min(states.count(state) for state in ("partial", "complete")) >= 1


def assert_restored(source: Path, other: Settings, expected: dict[str, bytes]) -> None:
    restore_backup(other, source)
    assert content(other) == expected
    assert event_count(other) == 1


def assert_restored_or_refused(source: Path, other: Settings, expected: dict[str, bytes]) -> None:
    """An interrupted backup is complete, or refused in one line with HOME unchanged."""
    if (source / "manifest.json").is_file() and (source / "manifest.json").read_bytes():
        assert_restored(source, other, expected)
        return
    with pytest.raises(BackupError) as refusal:
        restore_backup(other, source)
    assert str(refusal.value) == f"{source} is not a backup: manifest.json is missing or unreadable"
    assert not other.home.exists()
