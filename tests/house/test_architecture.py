"""docs/architecture.md agrees with the code: its drawing with the imports, its modules with the tree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import grimp
import pytest

PACKAGES = ("dicom_node", "inference", "db", "webapp", "lungnode", "training")
CONTRACT = "Rooms of a package never import in a circle"


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def drawing(page: str) -> dict[str, list[list[str]]]:
    """Rows of rooms by package, from the top."""
    blocks = re.findall(r"```\n(.*?)```", page, flags=re.DOTALL)
    block = next(text for text in blocks if text.startswith(" dicom_node   jobs"))
    rows: dict[str, list[list[str]]] = {}
    for line in block.splitlines():
        match = re.fullmatch(r" (\w*) +(\w+(?: \w+)*) {2,}\S.*", line)
        assert match, line
        package = match[1] or list(rows)[-1]
        rows.setdefault(package, []).append(match[2].split())
    return rows


def room_of(module: str) -> str:
    """Second name of a dotted one, or the first where there is no other."""
    return module.split(".")[min(1, module.count("."))]


@pytest.fixture(scope="module")
def imports(root: Path) -> set[tuple[str, str]]:
    """Imports within each package, but for those that the contract exempts."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    exempt = next(contract for contract in contracts if contract["name"] == CONTRACT)["ignore_imports"]
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    direct = {(a, b) for a in graph.modules for b in graph.find_modules_directly_imported_by(a)}
    within = {(a, b) for a, b in direct if a.split(".")[0] == b.split(".")[0]}
    return within - {tuple(line.split(" -> ")) for line in exempt}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_drawn_once_and_exists(package: str, drawing: dict[str, list[list[str]]], root: Path) -> None:
    drawn = [room for row in drawing[package] for room in row]
    assert len(drawn) == len(set(drawn))
    rooms = {path.parent.name for path in (root / package).glob("*/__init__.py")} - {"migrations"}
    assert rooms <= set(drawn)
    assert not [room for room in set(drawn) - rooms if not (root / package / f"{room}.py").is_file()]


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_from_their_row_and_below(
    package: str, drawing: dict[str, list[list[str]]], imports: set[tuple[str, str]]
) -> None:
    floor = {room: -number for number, row in enumerate(drawing[package]) for room in row}
    own = {(a, b) for a, b in imports if a.split(".")[0] == package}
    assert len(own) > 40
    climbing = [
        f"{a} -> {b}"
        for a, b in own
        if room_of(a) in floor and room_of(b) in floor and floor[room_of(b)] > floor[room_of(a)]
    ]
    assert not climbing, "\n".join(sorted(climbing))


def test_modules_that_the_page_names_exist(page: str, tracked: tuple[Path, ...]) -> None:
    named = set(re.findall(r"`([\w/.-]+\.(?:py|ts|html|toml|md))`", page))
    assert len(named) > 80
    present = [f"/{path.as_posix()}" for path in tracked]
    assert not sorted(name for name in named if not any(path.endswith(f"/{name}") for path in present))
