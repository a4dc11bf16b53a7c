"""Fields are read or refused by name."""

from __future__ import annotations

import pytest

from db.domain.records import UploadPatient
from webapp.http import forms
from webapp.http.errors import BadRequestError, UnfitInputError


def test_all_patient_fields_are_read() -> None:
    described = {
        "age": "61",
        "sex": "F",
        "smoking_pack_years": "30.5",
        "family_history": "yes",
        "symptoms": " cough\0 ",
    }
    assert forms.upload_patient_of(described) == UploadPatient(61, "female", 30.5, True, "cough")


def test_everything_may_be_left_out() -> None:
    assert forms.upload_patient_of({"age": "", "sex": " ", "symptoms": ""}) == UploadPatient()


def test_the_short_name_of_pack_years_works_too() -> None:
    assert forms.upload_patient_of({"pack_years": "12"}).smoking_pack_years == 12.0


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
        ("smoking_pack_years", "inf"),
        ("smoking_pack_years", "nan"),
        ("family_history", "perhaps"),
        ("symptoms", "x" * 2001),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_never_repeated(field: str, value: str) -> None:
    with pytest.raises(UnfitInputError) as refused:
        forms.upload_patient_of({field: value})
    assert refused.value.status == 422
    assert field in refused.value.message
    assert value not in refused.value.message


def test_a_place_has_both_coordinates_or_none() -> None:
    assert forms.position_of({}) is None
    assert forms.position_of({"row": "0", "column": "12.5"}) == forms.PixelPosition(0.0, 12.5)
    for half in ({"row": "1"}, {"column": "1"}, {"row": "-1", "column": "1"}, {"row": "nan", "column": "1"}):
        with pytest.raises(UnfitInputError):
            forms.position_of(half)


@pytest.mark.parametrize("body", [[], "text", 3, None, True])
def test_a_body_is_an_object(body: object) -> None:
    with pytest.raises(BadRequestError):
        forms.json_object(body)


def test_text_that_turns_direction_around_is_cleaned() -> None:
    assert forms.text_of({"comment": "a\u202eb\x07"}, "comment") == "ab"
    with pytest.raises(UnfitInputError):
        forms.text_of({"comment": 3}, "comment")


@pytest.mark.parametrize(("sent", "characters"), [("\r\n", 1), ("\n", 1), ("\r\n\r\n", 2)])
def test_a_line_break_is_counted_as_browsers_count_it(sent: str, characters: int) -> None:
    lines = f"a{sent}b"
    text = lines + "x" * (forms.MAX_TEXT - characters - 2)
    symptoms = forms.upload_patient_of({"symptoms": text}).symptoms
    assert symptoms is not None
    assert len(symptoms) == forms.MAX_TEXT
    with pytest.raises(UnfitInputError):
        forms.upload_patient_of({"symptoms": text + "x"})
