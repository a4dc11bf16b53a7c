"""Commands end with status 0 only on success, and errors are lines for people."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
import structlog
import typer.main

from lungnode.cli import app, run
from lungnode.commands.doctor import _database
from lungnode.commands.restore_mark import NAME, UnfinishedRestore, mark
from lungnode.errors import FaultError
from lungnode.settings.table import load_settings

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LUNGNODE_HOME", str(tmp_path / "home"))
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("lungnode: ") for line in lines), lines
    return [line.removeprefix("lungnode: ") for line in lines]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], "No such command"),
        (["serve", "--only", "pacs"], "--only"),
        (["demo", "--study", "nowhere"], "folder not found"),
        (["user", "add"], "Missing argument"),
        (["user", "add", "eve", "--password", "x"], "No such option"),
        (["predict"], "Missing argument"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) != 0
    (line,) = errors(capsys)
    assert words in line


def test_wrong_settings_are_one_line_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LUNGNODE_DICOM__PORT", "hunter2")
    monkeypatch.setenv("LUNGNODE_WEB__PORT", "hunter2")
    assert run(["audit", "verify"]) == 2
    lines = errors(capsys)
    assert [line.split(":")[0] for line in lines] == ["LUNGNODE_DICOM__PORT", "LUNGNODE_WEB__PORT"]
    assert "hunter2" not in str(lines)


def every_command(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Yield the words of each command of the command line, groups included."""
    yield [*path]
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield [*path, name]


@pytest.mark.parametrize("command", list(every_command(typer.main.get_group(app))), ids=" ".join)
def test_help_shows_no_markup(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Usage: lungnode" in text
    assert "\\" not in text
    if command == ["predict"]:
        assert "[required]" in text


@pytest.mark.parametrize("words", [["--row", "3"], ["--column", "3"]])
def test_half_a_place_is_refused_before_models_load(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["predict", str(tmp_path), *words]) == 1
    assert "--row and --column must be given together" in errors(capsys)[0]


def test_files_are_checked_before_models_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUNGNODE_MODEL__BUNDLE", str(tmp_path / "nowhere"))
    assert run(["predict", str(tmp_path / "missing.png"), str(tmp_path)]) == 1
    assert errors(capsys) == [f"{tmp_path}/missing.png: No such file or directory", f"{tmp_path}: Is a directory"]
    (tmp_path / "there.png").write_bytes(b"x")
    assert run(["predict", str(tmp_path / "there.png")]) == 1
    (line,) = errors(capsys)
    assert str(tmp_path / "nowhere") in line
    assert "LUNGNODE_MODEL__BUNDLE" in line


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["predict", __file__],
        ["audit", "verify"],
        ["db", "upgrade"],
        ["store", "verify"],
        ["purge", "--days=9"],
    ],
    ids=" ".join,
)
def test_a_home_that_cannot_be_used_is_named_with_its_setting(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "home", Path("/proc/lungnode")):
        monkeypatch.setenv("LUNGNODE_HOME", str(home))
        assert run(command) == 1
        (line,) = errors(capsys)
        assert str(home) in line
        assert "LUNGNODE_HOME" in line


@pytest.mark.parametrize(
    ("revision", "problem"),
    [
        ("9999", "of a newer release (revision 9999): install that release"),
        ("0020", "of a development version before the first release (revision 0020)"),
    ],
)
@pytest.mark.parametrize("command", [["serve"], ["db", "upgrade"], ["audit", "verify"], ["doctor"]], ids=" ".join)
def test_a_database_of_another_release_says_so(
    command: list[str], revision: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["db", "upgrade"]) == 0
    with closing(sqlite3.connect(load_settings().home / "lungnode.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.execute("DELETE FROM served_revisions")
    capsys.readouterr()
    assert run(command) == 1
    captured = capsys.readouterr()
    assert problem in captured.err + captured.out
    assert "db upgrade" not in captured.err


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """Yield every command with a value for each argument and option that it requires."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*path, name))
    if not hasattr(command, "commands"):
        values = [
            *(word for parameter in command.params if parameter.required for word in value_of(parameter)),
            *(["--study", "1.2.3"] if path == ("retrieve",) else []),
        ]
        yield [*path, *values]


def value_of(parameter: Any) -> list[str]:
    value = {"path": __file__, "choice": next(iter(getattr(parameter.type, "choices", ["x"])))}.get(
        parameter.type.name, "x"
    )
    return [str(value)] if parameter.param_type_name == "argument" else [parameter.opts[0], str(value)]


COMMANDS = [command for command in leaves(typer.main.get_command(app)) if command[0] != "restore"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_a_home_that_a_restore_left_unfinished_is_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mark(home, UnfinishedRestore("/backups/monday"))
    assert run(command) == 1
    (line,) = errors(capsys)
    assert line.startswith(f"{home} is incomplete: a restore was interrupted")
    assert line.endswith("run `lungnode restore /backups/monday` again")
    assert [path.name for path in home.iterdir()] == [NAME]


@pytest.mark.parametrize("command", [["audit", "verify"], ["token", "create", "pacs"]])
def test_a_missing_database_says_what_to_do(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command) == 1
    assert "run `lungnode db upgrade`" in errors(capsys)[0]


def test_an_unreachable_database_does_not_show_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LUNGNODE_DATABASE__URL", "postgresql+psycopg://lungnode:hunter2@127.0.0.1:1/lungnode")
    assert run(["db", "upgrade"]) == 1
    (line,) = errors(capsys)
    assert "LUNGNODE_DATABASE__URL" in line
    assert "hunter2" not in line


def test_upgrade_is_repeatable_and_the_empty_trail_is_intact(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["db", "upgrade"]) == run(["db", "upgrade"]) == 0
    assert len(set(capsys.readouterr().out.splitlines())) == 1
    assert run(["audit", "verify"]) == 0
    assert json.loads(capsys.readouterr().out)["intact"] is True


def test_a_person_is_added_with_a_password_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["db", "upgrade"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert run(["user", "add", "ada", "--role", "admin"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert run(["user", "add", "Ada"]) == 1
    assert "exists" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD} staple\n"))
    assert run(["user", "password", "ada"]) == 0
    assert run(["user", "disable", "ada"]) == 0
    assert run(["audit", "verify"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out.splitlines()[-1])["events"] == 3
    assert PASSWORD not in out


@pytest.mark.parametrize("given", ["", "\n", "short\n"])
def test_a_missing_or_short_password_adds_no_user(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["db", "upgrade"])
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert run(["user", "add", "ada"]) == 1
    assert "password" in errors(capsys)[0]


def test_a_token_is_printed_once_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    run(["db", "upgrade"])
    capsys.readouterr()
    assert run(["token", "create", "pacs", "--days", "30"]) == 0
    assert len(capsys.readouterr().out.split()) == 1
    assert run(["token", "create", "pacs"]) == 1
    assert run(["token", "revoke", "pacs"]) == 0
    assert run(["token", "revoke", "nobody"]) == 1


def test_a_rolled_back_trail_is_found_by_its_anchor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["db", "upgrade"])
    run(["token", "create", "one"])
    assert run(["backup", str(tmp_path / "early")]) == 0
    run(["token", "create", "two"])
    assert run(["audit", "anchor", str(tmp_path / "anchor.json")]) == 0
    home = tmp_path / "home"
    for path in home.glob("lungnode.db*"):
        path.unlink()
    (tmp_path / "early" / "database").rename(home / "lungnode.db")
    assert run(["audit", "verify"]) == 0
    capsys.readouterr()
    assert run(["audit", "verify", "--anchor", str(tmp_path / "anchor.json")]) == 1
    assert "when the anchor was written" in errors(capsys)[0]


@pytest.mark.parametrize(
    "command",
    [["audit", "verify"], ["audit", "anchor", "anchor.json"], ["token", "create", "two"], ["serve"], ["db", "upgrade"]],
    ids=" ".join,
)
def test_a_missing_audit_key_is_named_and_never_replaced(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["db", "upgrade"]) == run(["token", "create", "one"]) == 0
    key = load_settings().audit_key_path
    content = key.read_bytes()
    key.unlink()
    capsys.readouterr()
    assert run(command) == 1
    (line,) = errors(capsys)
    assert f"the audit key {key} is missing" in line
    assert "LUNGNODE_DATABASE__AUDIT_KEY_FILE" in line
    assert not key.exists()
    key.write_bytes(content)
    assert run(["audit", "verify"]) == 0


def test_a_damaged_database_is_found_by_verify_and_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["db", "upgrade"]) == run(["token", "create", "one"]) == 0
    settings = load_settings()
    file = settings.home / "lungnode.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'studies'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as database:
        database.seek((page - 1) * size)
        database.write(b"\xff" * size)
    capsys.readouterr()
    assert run(["audit", "verify"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["intact"] is False
    assert "the database is damaged" in captured.err
    with pytest.raises(FaultError, match=r"the database is damaged .* restore a backup"):
        _database(settings)
