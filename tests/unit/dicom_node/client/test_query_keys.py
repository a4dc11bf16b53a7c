"""Queries that are sent name one value exactly, and matches with another value are recognized."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from dicom_node.client.query_keys import InexactKeyError, exact_key, exact_uid, mismatched_key, plain_date


@pytest.mark.parametrize("value", ["*", "47*", "4?11", "4711\\4712", "?", "", " ", "\0", "47\n11", "47\x1b11"])
def test_a_key_that_might_match_more_than_one_value_is_refused(value: str) -> None:
    with pytest.raises(InexactKeyError) as refused:
        exact_key("accession number", value)
    assert "accession number" in str(refused.value)


@pytest.mark.parametrize("value", ["*", "1.2.*", "1.2.3\\1.2.4", "", "1..2", "1.2." + "3" * 70])
def test_a_unique_key_is_one_uid(value: str) -> None:
    with pytest.raises(InexactKeyError):
        exact_uid("Study Instance UID", value)


@pytest.mark.parametrize(
    ("value", "key"), [("4711", "4711"), (" 4711 ", "4711"), ("A-1/2[3]", "A-1/2[3]"), ("1\0", "1")]
)
def test_padding_is_no_part_of_a_key(value: str, key: str) -> None:
    assert exact_key("accession number", value) == key


def dataset(**values: Any) -> Dataset:
    ds = Dataset()
    with disable_value_validation():
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    return ds


def _case(keyword: str, requested: str, answered: Any, *, is_match: bool) -> Any:
    return pytest.param(keyword, requested, answered, is_match, id=f"{keyword}-{requested}-{answered}")


@pytest.mark.parametrize(
    ("keyword", "requested", "answered", "is_match"),
    [
        _case("AccessionNumber", "4711", "4711", is_match=True),
        _case("AccessionNumber", "4711", " 4711 ", is_match=True),
        _case("AccessionNumber", "4711", "4711\0", is_match=True),
        _case("AccessionNumber", "4711", "47110", is_match=False),
        _case("AccessionNumber", "4711", "471", is_match=False),
        _case("AccessionNumber", "4711", "04711", is_match=False),
        _case("AccessionNumber", "4711", "", is_match=False),
        _case("AccessionNumber", "4711", None, is_match=False),
        _case("AccessionNumber", "4711", ["4711", "4712"], is_match=False),
        _case("AccessionNumber", "a4711", "A4711", is_match=False),
        _case("PatientID", "P1", "P1", is_match=True),
        _case("PatientID", "P1", "p1", is_match=False),
        _case("PatientID", "P1", "P 1", is_match=False),
        _case("PatientID", "Ä1", "Ä1", is_match=True),
        _case("PatientID", "P1", "P１", is_match=False),
        _case("StudyInstanceUID", "1.2.3", "1.2.3\0", is_match=True),
        _case("StudyInstanceUID", "1.2.3", "1.2.30", is_match=False),
        _case("StudyDate", "-20250101", "20250101", is_match=True),
        _case("StudyDate", "-20250101", "2024.12.31", is_match=True),
        _case("StudyDate", "-20250101", "20250102", is_match=False),
        _case("StudyDate", "-20250101", "", is_match=False),
        _case("StudyDate", "-20250101", "2024", is_match=False),
        _case("StudyDate", "20240101-", "20231231", is_match=False),
        _case("StudyDate", "20250101", "20250101", is_match=True),
    ],
)
def test_an_answer_is_compared_with_the_key(keyword: str, requested: str, answered: Any, is_match: bool) -> None:
    query = dataset(QueryRetrieveLevel="STUDY", **{keyword: requested}, StudyDescription="")
    answer = dataset(QueryRetrieveLevel="STUDY", **{keyword: answered}, StudyDescription="Thorax")
    answer.SpecificCharacterSet = "ISO_IR 192"
    assert mismatched_key(query, answer) == ("" if is_match else keyword)


def test_a_key_that_is_left_out_of_the_answer_matches_nothing() -> None:
    assert mismatched_key(dataset(QueryRetrieveLevel="STUDY", PatientID="P1"), dataset()) == "PatientID"


@pytest.mark.parametrize(
    ("level", "mismatch"), [("STUDY", ""), ("study ", ""), ("", ""), ("SERIES", "QueryRetrieveLevel")]
)
def test_an_answer_of_another_level_is_none(level: str, mismatch: str) -> None:
    query = dataset(QueryRetrieveLevel="STUDY", PatientID="P1")
    assert mismatched_key(query, dataset(QueryRetrieveLevel=level, PatientID="P1")) == mismatch


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("20250102", "20250102"),
        ("2025.01.02", "20250102"),
        ("2025-01-02", "20250102"),
        ("2025", ""),
        ("x", ""),
        ("", ""),
    ],
)
def test_dates_are_compared_in_one_form(value: str, date: str) -> None:
    assert plain_date(value) == date
