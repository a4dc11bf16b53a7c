"""Files, commands and settings named in the documents exist."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
import typer

from lungnode.cli import app, run
from lungnode.settings import table as settings_table


def leaf_commands() -> set[str]:
    """Every command of the ``lungnode`` command line, as it is typed."""
    group = typer.main.get_command(app)
    names = set()
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        names |= {f"{name} {leaf}" for leaf in getattr(command, "commands", {})} or {name}
    return names


def test_the_settings_table_is_current(root: Path) -> None:
    text = (root / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_table.settings_table() in text, "run `make docs`"


def test_every_setting_explains_itself() -> None:
    rows = [row.split(" | ") for row in settings_table.settings_table().splitlines()[2:]]
    assert len(rows) > 20
    assert not [row[0] for row in rows if len(row[2]) < 15]


def test_the_table_is_rewritten_between_its_markers(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{settings_table.BEGIN}\nstale row\n{settings_table.END}\nafter\n")
    assert settings_table.rewrite(page)
    assert not settings_table.rewrite(page)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert "stale row" not in page.read_text()


def test_documented_commands_exist(documents: dict[Path, str]) -> None:
    commands = leaf_commands()
    groups = {command.split()[0] for command in commands if " " in command}
    for path, text in documents.items():
        if path.name == "CHANGELOG.md":
            continue
        for first, second in re.findall(r"(?<![\w/.-])lungnode ([a-z]+)(?: ([a-z]+))?", "\n".join(code_of(text))):
            typed = f"{first} {second}" if first in groups else first
            assert typed in commands, f"{path} names `lungnode {typed}`"


def test_every_command_is_documented(root: Path) -> None:
    text = (root / "docs" / "commands.md").read_text(encoding="utf-8")
    assert not [command for command in leaf_commands() if f"`lungnode {command}" not in text]


def code_of(text: str) -> list[str]:
    """Code blocks and inline code of a Markdown text."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, flags=re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return blocks + re.findall(r"`([^`\n]+)`", rest)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in sorted(leaf_commands()):
        assert run([*command.split(), "--help"]) == 0
        assert f"Usage: lungnode {command}" in capsys.readouterr().out


def test_documented_make_targets_exist(root: Path, documents: dict[Path, str]) -> None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, flags=re.MULTILINE))
    used = {
        name for text in documents.values() for code in code_of(text) for name in re.findall(r"\bmake ([a-z-]+)", code)
    }
    assert used <= targets


def test_documented_modules_run(documents: dict[Path, str], root: Path) -> None:
    named = {
        name for text in documents.values() for name in re.findall(r"python -m ([a-z_.]+)", "\n".join(code_of(text)))
    }
    paths = {name: root / name.replace(".", "/") for name in named if "." in name}
    missing = [
        name
        for name, path in paths.items()
        if not path.with_suffix(".py").is_file() and not (path / "__main__.py").is_file()
    ]
    assert not missing


def test_documented_network_tools_are_named_unambiguously(documents: dict[Path, str]) -> None:
    """pynetdicom installs scripts of the names of DCMTK's into ``.venv/bin``, with other options."""
    scripts = distribution("pynetdicom").entry_points.select(group="console_scripts")
    tools = "|".join(script.name for script in scripts)
    assert "storescu" in tools
    bare = [
        f"{path}: {line}"
        for path, text in documents.items()
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
        for line in block.splitlines()
        if re.match(rf"({tools})\b", line)
    ]
    assert not bare


def test_documented_links_lead_somewhere(documents: dict[Path, str], root: Path) -> None:
    missing = [
        f"{path}: {target}"
        for path, text in documents.items()
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        if "://" not in target and not (root / path.parent / target).exists()
    ]
    assert not missing


def test_documented_files_exist(documents: dict[Path, str], root: Path) -> None:
    packages = r"(?:lungnode|dicom_node|inference|webapp|db|training|benchmarks|tests|docs|docker)"
    missing = [
        f"{path}: {name}"
        for path, text in documents.items()
        for name in re.findall(rf"`({packages}/[\w/.-]+)`", text)
        if not (root / name).exists()
    ]
    assert not missing


@pytest.mark.parametrize("folder", ["docs/adr"])
def test_every_decision_is_listed_and_has_its_sections(folder: str, root: Path) -> None:
    index = (root / folder / "README.md").read_text(encoding="utf-8")
    decisions = sorted((root / folder).glob("0*.md"))
    assert len(decisions) >= 8
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert f"({path.name})" in index
        assert all(f"## {name}" in text for name in ("Context", "Decision", "Alternatives"))
        assert re.search(r"^## .*[Gg]rowth", text, flags=re.MULTILINE)
