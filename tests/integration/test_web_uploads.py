"""Zips through the real intake by ``POST /predict``: what is accepted, what is left out, what is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator

import pytest
import requests

from tests.support.dicomweb import Archive, serving
from tests.support.intake import ct_dataset, part10


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with serving(tmp_path_factory.mktemp("uploads")) as served:
        yield served


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive_file:
        for name, content in members.items():
            archive_file.writestr(name, content)
    return stream.getvalue()


def slices(study: int) -> dict[str, bytes]:
    return {f"CT/{number}": part10(ct_dataset(number, study=study)) for number in range(3)}


def post(archive: Archive, content: bytes, **headers: str) -> requests.Response:
    url = archive.url.removesuffix("/dicom-web") + "/predict"
    return requests.post(url, files={"image": ("export.zip", content)}, headers=headers, timeout=60)


def encrypted() -> bytes:
    content = zipped(slices(9))
    at = content.index(b"PK\1\2") + 8
    return content[:at] + struct.pack("<H", 1) + content[at + 2 :]


def test_an_export_with_a_readme_is_accepted_and_sent_again(archive: Archive) -> None:
    content = zipped(slices(1) | {"README.TXT": b"hello", "dicomdir": b"x" * 200})
    first, again = post(archive, content), post(archive, content)
    assert (first.status_code, first.headers["Location"]) == (202, f"/studies/{ct_dataset().StudyInstanceUID}")
    assert first.json()["message"] == "3 CT images accepted; left out: 2 files that are not DICOM."
    assert again.json()["message"] == (
        "3 CT images accepted, 3 of them already stored; left out: 2 files that are not DICOM."
    )


def test_a_browser_is_shown_what_was_left_out(archive: Archive) -> None:
    page = post(archive, zipped(slices(2) | {"a": b"a"}), Accept="text/html", **{"Accept-Language": "es"})
    assert page.status_code == 202
    assert "1 archivo que no es DICOM" in page.text


@pytest.mark.parametrize(
    ("what", "content", "status", "code"),
    [
        ("a broken zip", b"PK\x03\x04 and no more", 422, "not_a_zip"),
        ("an empty zip", zipped({}), 422, "empty_zip"),
        ("only a folder", zipped({"a/": b""}), 422, "empty_zip"),
        ("encrypted", encrypted(), 422, "encrypted_zip"),
        ("no CT", zipped({"a.txt": b"hello"}), 422, "no_ct"),
        ("a bomb", zipped({"a.dcm": bytes(100_000_000)}), 413, "zip_ratio"),
        (
            "two studies",
            zipped(slices(3) | {"other": part10(ct_dataset(study=4))}),
            422,
            "several_studies",
        ),
    ],
)
def test_refusals(archive: Archive, what: str, content: bytes, status: int, code: str) -> None:
    response = post(archive, content)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), what


def test_a_refusal_is_translated_on_the_page(archive: Archive) -> None:
    page = post(archive, zipped({"a.txt": b"x"}), Accept="text/html", **{"Accept-Language": "de"})
    assert "Kein CT-Bild in der ZIP-Datei. Sie enthält 1 Datei, die kein DICOM ist." in page.text
