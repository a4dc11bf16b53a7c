"""Identity of patients: missing attributes say nothing, contradictions separate."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.domain.errors import InvalidRecordError
from db.domain.studies import PatientAttributes
from db.studies.patients import contradicts, folded_name, folded_text, is_same_within_study, normalised

ANN = PatientAttributes("P1", "H", "Müller^Anna", "19700101", "F")
words = st.text(max_size=20)
people = st.builds(PatientAttributes, words, words, words, words, words)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller^Anna", "MULLER^ANNA"),
        ("Müller^Anna", "Mu\u0308ller^Anna^^^"),
        ("Müller^Anna", " Müller ^ Anna"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "yamada^tarou"),
        ("STRASSE", "straße"),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    assert folded_name(one) == folded_name(other)


def test_names_in_another_order_are_other_names() -> None:
    assert folded_name("Anna^Müller") != folded_name("Müller^Anna")


@given(people)
def test_a_patient_never_contradicts_itself(person: PatientAttributes) -> None:
    assert not contradicts(person, person)
    assert not contradicts(person, PatientAttributes(person.patient_id))


@given(people, people)
def test_contradiction_is_mutual(one: PatientAttributes, other: PatientAttributes) -> None:
    assert contradicts(one, other) is contradicts(other, one)
    assert is_same_within_study(one, other) is is_same_within_study(other, one)


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert folded_text(folded_text(text)) == folded_text(text)


@pytest.mark.parametrize("other", [{"patient_id": "P2"}, {"patient_id": ""}, {"issuer": "K"}, {"birth_date": "1970"}])
def test_another_identity_is_refused_in_the_study(other: dict[str, str]) -> None:
    assert not is_same_within_study(ANN, replace(ANN, **other))


def test_padding_is_no_part_of_an_identity() -> None:
    assert normalised(PatientAttributes(" P1 ", " H", " Müller^Anna ", "19700101 ", "f ")) == ANN


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=250))
def test_an_id_that_can_be_stored_stays_unchanged(text: str) -> None:
    assert normalised(PatientAttributes(text)).patient_id == text.strip(" ")


@given(st.text(), st.sampled_from(["\0", "\ud800", "\udfff", "x" * 257]), st.text())
def test_an_id_that_cannot_be_stored_is_refused_and_not_repeated(before: str, wrong: str, after: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        normalised(PatientAttributes(before + wrong + after))
    assert str(caught.value).startswith("patient_id ")
    assert wrong not in str(caught.value)
