"""DICOMweb requests that would take long, and answers that outlast the caller's access."""

from __future__ import annotations

import pytest

from tests.support.webapp_doubles import add_study
from tests.unit.webapp.conftest import Web
from webapp.dicomweb import multipart, store
from webapp.dicomweb.multipart import Part
from webapp.ports import InstanceOutcome


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID"])
@pytest.mark.parametrize("separator", ["&{}=", ",", "%5C"])
def test_more_values_of_an_attribute_than_foreseen_are_refused(web: Web, keyword: str, separator: str) -> None:
    add_study(web.database)
    values = separator.format(keyword).join(f"1.{number}" for number in range(1500))
    assert web.client().get(f"/dicom-web/studies?{keyword}={values}").status_code == 400


class NeverStored:
    """A reception of parts that are no instances."""

    def write(self, piece: object) -> None:
        """Take a piece."""

    def finish(self) -> InstanceOutcome:
        """Refuse it."""
        return InstanceOutcome("", "", False, 0xC000)

    def abandon(self) -> None:
        """Forget it."""


def test_a_body_of_parts_that_are_no_instances_is_not_read_to_its_end(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[NeverStored] = []

    def open_instance(*_: object, **__: object) -> NeverStored:
        opened.append(NeverStored())
        return opened[-1]

    monkeypatch.setattr(type(web.intake), "open_instance", open_instance)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\nx\r\n" * 25_000 + b"--b--\r\n"
    content_type = 'multipart/related; type="application/dicom"; boundary=b'
    response = web.client().post("/dicom-web/studies", data=body, content_type=content_type)
    assert (response.status_code, response.get_json()["error"]["code"]) == (413, "too_many_failures")
    assert len(opened) == store.MAX_FAILED + 1


class OpenPieces:
    """Two pieces that know whether they were closed."""

    def __init__(self) -> None:
        self._pieces = iter((b"a", b"b"))
        self.is_closed = False

    def __iter__(self) -> OpenPieces:
        return self

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("loses_access", [True, False])
def test_an_answer_of_many_parts_ends_with_the_access_of_its_caller(
    monkeypatch: pytest.MonkeyPatch, *, loses_access: bool
) -> None:
    monkeypatch.setattr(multipart, "ACCESS_CHECK_S", 0.0)
    access = iter([True, True, not loses_access, True, True])
    pieces = [OpenPieces() for _ in range(5)]
    parts = [Part("application/dicom", f"/{number}", 2, one) for number, one in enumerate(pieces)]
    body = b"".join(multipart._Body(parts, "b", lambda: next(access)))
    assert body.count(b"Content-Location") == (2 if loses_access else 5)
    assert body.endswith(b"--b--\r\n") is not loses_access
    assert pieces[2].is_closed is loses_access
