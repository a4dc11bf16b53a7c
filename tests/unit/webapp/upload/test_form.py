"""Fields of an upload are read or refused by name."""

from __future__ import annotations

import io

import pytest
from werkzeug.datastructures import FileStorage

from db.domain.uploads import UploadPatient
from webapp.endpoints import validated
from webapp.http.errors import UnfitInputError, WebError
from webapp.http.forms import MAX_TEXT
from webapp.upload.form import UploadForm
from webapp.upload.uploads import PNG_MAGIC


def file(content: bytes = PNG_MAGIC, name: str = "any.png") -> FileStorage:
    return FileStorage(io.BytesIO(content), filename=name)


def form(**fields: str) -> UploadForm:
    return validated(UploadForm, {"image": [file()], **fields})


def test_all_patient_fields_are_read() -> None:
    patient = form(age="61", sex="F", smoking_pack_years="30.5", family_history="yes", symptoms=" cough\0 ").patient
    assert patient == UploadPatient(61, "female", 30.5, True, "cough")


def test_all_fields_but_the_file_are_optional() -> None:
    assert form().patient == UploadPatient()
    assert (form().row, form().column) == (None, None)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("age", " 61.0 ", 61),
        ("age", "0", 0),
        ("age", "6.1e1", 61),
        ("sex", " Male ", "male"),
        ("sex", "o", "other"),
        ("family_history", "OFF", False),
        ("family_history", " 1 ", True),
        ("smoking_pack_years", "500", 500.0),
    ],
)
def test_a_field_is_read_as_browsers_and_programs_write_it(field: str, text: str, value: object) -> None:
    assert getattr(form(**{field: text}).patient, field) == value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("age", "-1"),
        ("age", "131"),
        ("age", "61.5"),
        ("age", "sixty"),
        ("age", "nan"),
        ("age", "1e400"),
        ("age", "9" * 5000),
        ("sex", "yes"),
        ("smoking_pack_years", "-0.1"),
        ("smoking_pack_years", "501"),
        ("smoking_pack_years", "inf"),
        ("smoking_pack_years", "nan"),
        ("family_history", "perhaps"),
        ("symptoms", "x" * 2001),
        ("row", "-1"),
        ("row", "nan"),
        ("column", "100001"),
        ("column", "x"),
    ],
)
def test_an_impossible_value_is_refused_by_name_and_never_repeated(field: str, value: str) -> None:
    with pytest.raises(UnfitInputError) as refused:
        form(**{field: value})
    assert (refused.value.status, refused.value.code) == (422, "invalid_field")
    assert field in refused.value.message
    assert value not in refused.value.message


def test_a_position_has_both_coordinates_or_none() -> None:
    position = form(row="0", column="12.5")
    assert (position.row, position.column) == (0.0, 12.5)
    for half in ({"row": "1"}, {"column": "1"}):
        with pytest.raises(UnfitInputError, match="given together"):
            form(**half)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({}, "no_image"),
        ({"photo": [file()]}, "no_image"),
        ({"image": [file()], "file": [file()]}, "several_files"),
        ({"image": [file(), file()]}, "several_files"),
        ({"image": [file()], "photo": [file(name="")]}, "several_files"),
        ({"image": "text"}, "no_image"),
        ({"image": [file(b"text")], "age": "x"}, "unsupported_type"),
        ({"image": [file(b"")], "age": "x"}, "empty_upload"),
    ],
)
def test_one_file_is_needed(files: dict[str, object], code: str) -> None:
    with pytest.raises(WebError) as refused:
        validated(UploadForm, files)
    assert refused.value.code == code


@pytest.mark.parametrize("field", ["image", "file"])
def test_an_empty_file_input_next_to_a_file_is_ignored(field: str) -> None:
    sent = file(name="")
    other = "file" if field == "image" else "image"
    assert validated(UploadForm, {other: [file(b"", "")], field: [sent]}).upload is sent


@pytest.mark.parametrize(("sent", "characters"), [("\r\n", 1), ("\n", 1), ("\r\n\r\n", 2)])
def test_a_line_break_is_counted_as_browsers_count_it(sent: str, characters: int) -> None:
    text = f"a{sent}b" + "x" * (MAX_TEXT - characters - 2)
    symptoms = form(symptoms=text).symptoms
    assert symptoms is not None
    assert len(symptoms) == MAX_TEXT
    with pytest.raises(UnfitInputError):
        form(symptoms=text + "x")
