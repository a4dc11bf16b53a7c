"""Upload images: stored, bounded, and found by our own ids only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from webapp.services import upload_images
from webapp.services.upload_images import UploadImages


def test_pictures_come_back(tmp_path: Path) -> None:
    folder = UploadImages(tmp_path / "pictures", limit=10)
    folder.save("a" * 32, b"image", None)
    assert folder.load("a" * 32, "image") == b"image"
    assert folder.load("a" * 32, "attention") is None
    assert (folder.has("a" * 32, "image"), folder.has("a" * 32, "attention")) == (True, False)


def test_images_are_private_to_the_owner(tmp_path: Path) -> None:
    folder = UploadImages(tmp_path / "pictures", limit=10)
    folder.save("a" * 32, b"image", b"attention")
    assert stat.S_IMODE((tmp_path / "pictures").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pictures").iterdir()} == {0o600}


@pytest.mark.parametrize("name", ["../" + "a" * 29, "a" * 31, "A" * 32, "", "a" * 32 + "/x", "a" * 32 + "\n"])
def test_other_names_lead_nowhere(tmp_path: Path, name: str) -> None:
    folder = UploadImages(tmp_path, limit=10)
    assert folder.load(name, "image") is None
    assert not folder.has(name, "image")


def test_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_images, "_SLACK", 0)
    folder = UploadImages(tmp_path, limit=2)
    for number in range(5):
        name = f"{number:032x}"
        folder.save(name, b"i", b"a")
        for picture in ("image", "attention"):
            if folder.has(name, picture):
                os.utime(tmp_path / f"{name}.{picture}.png", (number, number))
    stored = sorted({int(path.name[:32], 16) for path in tmp_path.glob("*.png")})
    assert stored == [3, 4]
