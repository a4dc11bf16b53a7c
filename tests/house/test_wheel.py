"""The wheel holds what the service needs at run time and nothing of the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

BUILT = Path("webapp/static/built")
CHECKOUT_ONLY = {("training", "report"), ("training", "federated")}


@pytest.fixture(scope="module")
def names(root: Path, tracked: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Contents of a wheel built from the tracked files and the pages' bundle."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, source / path)
    if (root / BUILT).is_dir():  # else the build backend makes the bundle itself
        shutil.copytree(root / BUILT, source / BUILT)
    code = "import sys; sys.path.insert(0, 'frontend'); import backend; print(backend.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(out)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("folder", ["lungnode", "dicom_node", "inference", "webapp", "db", "training"])
def test_every_tracked_file_of_a_package_is_in_the_wheel(
    folder: str, names: list[str], tracked: tuple[Path, ...]
) -> None:
    expected = {path.as_posix() for path in tracked if path.parts[0] == folder and path.parts[:2] not in CHECKOUT_ONLY}
    assert expected <= set(names), sorted(expected - set(names))


def test_what_runs_from_a_checkout_is_not_in_the_wheel(names: list[str]) -> None:
    assert not [name for name in names if tuple(name.split("/")[:2]) in CHECKOUT_ONLY]


def test_the_wheel_holds_templates_static_files_migrations_and_weights(names: list[str]) -> None:
    for start, end in (
        ("webapp/templates/", ".html"),
        ("webapp/static/", ".css"),
        ("db/migrations/versions/", ".py"),
        ("inference/weights/", "model.safetensors"),
        ("inference/weights/", "bundle.json"),
    ):
        assert [name for name in names if name.startswith(start) and name.endswith(end)], f"no {start}*{end}"


def test_the_wheel_holds_the_bundle_of_the_pages(root: Path, names: list[str]) -> None:
    built = [name for name in names if name.startswith(f"{BUILT}/")]
    pages = [page.stem for page in (root / "frontend/src/pages").glob("*.ts")]
    assert len(pages) > 5
    for page in pages:
        assert f"{BUILT}/{page}.js" in built
        assert f"{BUILT}/{page}.js.gz" in built
    for start, end in (("decodeImageFrameWorker-", ".js"), ("openjpegwasm_decode-", ".wasm")):
        assert [name for name in built if name.startswith(f"{BUILT}/parts/{start}") and name.endswith(end)], start


def test_the_wheel_holds_no_tests_and_nothing_of_the_container(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert not tops & {"tests", "docker", "benchmarks", "docs", "frontend", ".ci"}
    assert {top for top in tops if not top.endswith(".dist-info")} <= {
        *("lungnode", "dicom_node", "inference", "webapp", "db", "training")
    }


def test_the_licence_is_in_the_wheel(names: list[str]) -> None:
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
