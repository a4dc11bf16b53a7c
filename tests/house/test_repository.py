"""Rules for tracked files: no path of one machine, no data, no licence that spreads, no exact pins."""

from __future__ import annotations

import re
import runpy
import tomllib
from importlib.metadata import Distribution
from pathlib import Path

MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|mnt|media)/\w")
DATA_SUFFIXES = (
    *(".dcm", ".nii", ".nii.gz", ".jpg", ".jpeg", ".npz", ".npy"),
    *(".db", ".sqlite", ".pkl", ".pt", ".pth", ".zip"),
)
MAX_FILE_BYTES = 1_500_000
PRODUCT = ("db", "dicom_node", "frontend", "inference", "lungnode", "training", "webapp")
TEXT_SUFFIXES = {
    *(".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".cfg", ".ini", ".txt"),
    *(".html", ".css", ".js", ".json", ""),
}


def test_no_path_of_one_machine(root: Path, tracked: tuple[Path, ...]) -> None:
    offending = []
    for path in tracked:
        if path.suffix in TEXT_SUFFIXES and path != Path("tests/house/test_repository.py"):
            text = (root / path).read_text(encoding="utf-8", errors="replace")
            offending += [f"{path}: {hit.group()}" for hit in MACHINE_PATH.finditer(text)]
    assert not offending


def test_identifiers_of_dicom_are_named(root: Path, tracked: tuple[Path, ...]) -> None:
    """pydicom, pynetdicom or ``db.domain.uids`` has a name for each UID of the standard."""
    product = [path for path in tracked if path.parts[0] in PRODUCT and path.suffix in {".py", ".ts", ".html"}]
    assert len(product) > 300
    literal = [path.as_posix() for path in product if "1.2.840.10008" in (root / path).read_text(encoding="utf-8")]
    assert literal == ["db/domain/uids.py"]


def test_no_data_is_committed(root: Path, tracked: tuple[Path, ...]) -> None:
    assert not [path for path in tracked if path.name.lower().endswith(DATA_SUFFIXES)]
    large = [path for path in tracked if (root / path).stat().st_size > MAX_FILE_BYTES]
    assert all(path.name == "model.safetensors" for path in large), large


def test_only_the_phantom_is_pictured(tracked: tuple[Path, ...]) -> None:
    pictures = [path for path in tracked if path.suffix in {".png", ".svg", ".gif", ".webp", ".ico"}]
    allowed = ("docs/images", "docs/model", "inference/weights", "webapp/static", "webapp/templates")
    assert not [path for path in pictures if not path.as_posix().startswith(allowed)]


def test_nothing_is_pinned_exactly(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    requirements = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    assert not [line for line in requirements if "==" in line]


def test_no_dependency_spreads_its_licence(root: Path) -> None:
    closure = [installed for installed, _ in runpy.run_path(str(root / "docker" / "sbom.py"))["runtime_closure"]()]
    assert len(closure) > 40
    assert not [each.metadata["Name"] for each in closure if is_gpl(each)]
    assert "pylibjpeg-libjpeg" not in {each.metadata["Name"] for each in closure}


def is_gpl(installed: Distribution) -> bool:
    """Return True if every licence that a distribution names is a GPL (the Lesser GPL may be linked)."""
    metadata = installed.metadata
    named = [text for text in metadata.get_all("Classifier") or () if text.startswith("License ::")]
    stated = [text for field in ("License-Expression", "License") for text in metadata.get_all(field) or ()]
    named += [text for text in stated if text and len(text) < 200]
    choices = [part for text in named for part in re.split(r"\bOR\b", text)]
    return bool(choices) and all(_spreads(choice) for choice in choices)


def _spreads(licence: str) -> bool:
    return bool(re.search(r"\bA?GPL|General Public", licence)) and "Lesser" not in licence
