"""DICOMweb shows a blinded reader none of our results before the study is read, on any route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from sqlalchemy import select

from db.analyses.reviews import reopen_study, review_study
from db.tables.exchange import ResultRow
from tests.support.dicomweb import Archive, analysed_series, serving
from tests.support.factories import CtSeries
from webapp.reading.blinded_reading import COOKIE, SHOWN_HEADER

SLICES = 6
READER = {"Cookie": f"{COOKIE}=yes"}
ANY = {"Accept": "*/*"}
REPORT = "SR"


@pytest.fixture(scope="module")
def archive_with_series(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, CtSeries]]:
    folder: Path = tmp_path_factory.mktemp("archive")
    with serving(folder) as archive:
        yield archive, analysed_series(archive, folder, SLICES)


@pytest.fixture(scope="module")
def results(archive_with_series: tuple[Archive, CtSeries]) -> list[ResultRow]:
    with archive_with_series[0].database.read() as session:
        rows = list(session.scalars(select(ResultRow)))
        session.expunge_all()
    assert {row.modality for row in rows} >= {"OT", "PR", REPORT}
    return rows


def addresses(archive: Archive, study_uid: str, results: list[ResultRow]) -> set[str]:
    """Every address below the root that can be read, filled in for each result."""
    adapter = archive.app.url_map.bind("127.0.0.1")
    rules = [rule for rule in archive.app.url_map.iter_rules() if rule.rule.startswith("/dicom-web/")]
    readable = [rule for rule in rules if "GET" in (rule.methods or ())]
    assert len(readable) >= 14
    filled = set()
    for row in results:
        values = {
            "study_uid": study_uid,
            "series_uid": row.series_instance_uid,
            "sop_uid": row.sop_instance_uid,
            "frame_list": "1",
            "frame_number": 1,
            "tag_path": "00420011",
        }
        for rule in readable:
            filled.add(adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments}))
    return filled


def request_shows_results(
    archive: Archive, address: str, headers: dict[str, str], results: list[ResultRow]
) -> tuple[int, bool]:
    """Status of an answer, and whether it speaks of a result."""
    answer = requests.get(archive.url.removesuffix("/dicom-web") + address, headers=ANY | headers, timeout=60)
    words = [word for row in results for word in (row.series_instance_uid, row.sop_instance_uid)]
    return answer.status_code, any(word.encode() in answer.content for word in words)


def test_no_route_shows_results_before_the_study_is_read(
    archive_with_series: tuple[Archive, CtSeries], results: list[ResultRow]
) -> None:
    archive, series = archive_with_series
    uids = {uid for row in results for uid in (row.series_instance_uid, row.sop_instance_uid)}
    every = addresses(archive, series.study_instance_uid, results)
    for address in sorted(every):
        status, speaks = request_shows_results(archive, address, READER, results)
        assert not speaks, address
        assert status in (204, 404) or not uids & set(address.split("/")), address
    shown = {address for address in every if request_shows_results(archive, address, {}, results)[1]}
    assert len(shown) >= 10  # the walk sees results where they may be seen


def test_the_study_counts_and_is_found_by_its_images_alone(archive_with_series: tuple[Archive, CtSeries]) -> None:
    archive, series = archive_with_series
    url = f"{archive.url}/studies"
    (study,) = requests.get(url, headers=READER, timeout=30).json()
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([1], [SLICES])
    assert study["00080061"]["Value"] == ["CT"]
    assert requests.get(url, params={"ModalitiesInStudy": REPORT}, headers=READER, timeout=30).status_code == 204
    assert requests.get(url, params={"ModalitiesInStudy": REPORT}, timeout=30).status_code == 200
    metadata = requests.get(f"{url}/{series.study_instance_uid}/metadata", headers=READER, timeout=30).json()
    assert len(metadata) == SLICES


def test_results_are_shown_to_who_asks_for_them_and_to_who_is_done(
    archive_with_series: tuple[Archive, CtSeries], results: list[ResultRow]
) -> None:
    archive, series = archive_with_series
    address = f"/dicom-web/studies/{series.study_instance_uid}/series"
    assert request_shows_results(archive, address, READER | {SHOWN_HEADER: "shown"}, results) == (200, True)
    for reader, shown in (("another", False), ("local", True)):
        with archive.database.begin() as session:
            review_study(session, series.study_instance_uid, reviewed_by=reader)
        assert request_shows_results(archive, address, READER, results) == (200, shown)
        with archive.database.begin() as session:
            reopen_study(session, series.study_instance_uid, reopened_by=reader)
