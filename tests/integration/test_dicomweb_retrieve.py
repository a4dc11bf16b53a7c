"""WADO-RS: what is retrieved is what was stored, asked for by another project's client over a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import pydicom
import pytest
import requests

from db.archive.index import instances
from db.monitoring import faults
from tests.support.dicomweb import Archive, serving
from tests.support.factories import CtSeries, ct_series, index_series

SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1",
    "rle": "1.2.840.10008.1.2.5",
    "jpegls": "1.2.840.10008.1.2.4.80",
    "j2k": "1.2.840.10008.1.2.4.90",
    "jpegll": "1.2.840.10008.1.2.4.70",
}
"""Media types of frames that are sent as stored."""
OCTETS = 'multipart/related; type="application/octet-stream"'


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with serving(tmp_path_factory.mktemp("archive")) as served:
        yield served


@pytest.fixture(scope="module")
def series(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, CtSeries]:
    """A small series in every transfer syntax."""
    written = {}
    for seed, syntax in enumerate(SYNTAXES):
        folder = tmp_path_factory.mktemp(syntax)
        written[syntax] = ct_series(folder, n=3, rows=32, seed=seed, transfer_syntax=syntax, shuffle=True)
        index_series(archive.database, written[syntax], archive.store.root)
    return written


def frame_url(archive: Archive, series: CtSeries, index: int, frames: str = "1") -> str:
    series_path = f"{series.study_instance_uid}/series/{series.series_instance_uid}"
    return f"{archive.url}/studies/{series_path}/instances/{series.sop_instance_uids[index]}/frames/{frames}"


def test_metadata_say_what_the_files_say(archive: Archive, series: dict[str, CtSeries]) -> None:
    for written in series.values():
        items = archive.client.retrieve_series_metadata(written.study_instance_uid, written.series_instance_uid)
        by_uid = {one["00080018"]["Value"][0]: pydicom.Dataset.from_json(one, lambda *_: b"") for one in items}
        assert sorted(by_uid) == sorted(written.sop_instance_uids)
        for path, uid in zip(written.paths, written.sop_instance_uids, strict=True):
            stored, listed = pydicom.dcmread(path, stop_before_pixels=True), by_uid[uid]
            for element in stored:
                if element.keyword not in {"SpecificCharacterSet", "PixelData"}:
                    assert listed[element.tag].value == element.value, element.keyword


def test_metadata_are_in_the_order_of_image_numbers(archive: Archive, series: dict[str, CtSeries]) -> None:
    written = series["explicit"]
    for uids in ((), (written.series_instance_uid,), (written.series_instance_uid, written.sop_instance_uids[1])):
        steps = (f"/{level}/{uid}" for level, uid in zip(("series", "instances"), uids, strict=False))
        path = written.study_instance_uid + "".join(steps)
        answer = requests.get(f"{archive.url}/studies/{path}/metadata", timeout=30)
        assert answer.headers["Content-Type"] == "application/dicom+json"
        numbers = [one["00200013"]["Value"][0] for one in answer.json()]
        assert numbers == sorted(numbers)
        assert len(numbers) == (1 if len(uids) == 2 else 3)


@pytest.mark.parametrize("host", ["", "localhost:1", "127.0.0.1"])
def test_bulk_data_are_found_whatever_host_a_proxy_names(
    archive: Archive, series: dict[str, CtSeries], host: str
) -> None:
    written = series["explicit"]
    address = f"{archive.url}/studies/{written.study_instance_uid}/metadata"
    items = requests.get(address, headers={"Host": host} if host else {}, timeout=30).json()
    for instance in items:
        bulk = requests.get(urljoin(address, instance["7FE00010"]["BulkDataURI"]), timeout=30)
        assert (bulk.status_code, len(bulk.content) > 0) == (200, True)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frames_come_as_they_are_stored(archive: Archive, series: dict[str, CtSeries], syntax: str) -> None:
    written = series[syntax]
    for index, path in enumerate(written.paths):
        accept = f"{OCTETS}; transfer-syntax=*"
        answer = requests.get(frame_url(archive, written, index), headers={"Accept": accept}, timeout=30)
        assert answer.status_code == 200
        head, _, rest = answer.content.partition(b"\r\n\r\n")
        assert f"application/octet-stream; transfer-syntax={SYNTAXES[syntax]}".encode() in head
        boundary = head.split(b"\r\n")[0]
        body, end = rest[: -len(boundary) - 6], rest[-len(boundary) - 6 :]
        assert end == b"\r\n" + boundary + b"--\r\n"
        ds = pydicom.dcmread(path)
        if ds.file_meta.TransferSyntaxUID.is_encapsulated:
            assert body == next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))
        else:
            assert body == ds.PixelData


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_frames_come_uncompressed_to_whoever_asks(archive: Archive, series: dict[str, CtSeries], syntax: str) -> None:
    written = series[syntax]
    for index, path in enumerate(written.paths):
        (frame,) = archive.client.retrieve_instance_frames(
            written.study_instance_uid,
            written.series_instance_uid,
            written.sop_instance_uids[index],
            [1],
            media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),),
        )
        ds = pydicom.dcmread(path)
        pixels = np.frombuffer(frame, ds.pixel_array.dtype.newbyteorder("<")).reshape(ds.pixel_array.shape)
        assert np.array_equal(pixels, ds.pixel_array)


@pytest.mark.parametrize(
    ("frames", "accept", "status"),
    [
        ("2", "*/*", 404),
        ("0", "*/*", 404),
        ("one", "*/*", 400),
        ("1,1", "*/*", 200),
        ("1,2", "*/*", 404),
        ("1,0", "*/*", 404),
        ("1,1,1,999999", "*/*", 404),
        ("1", "application/octet-stream", 200),
        ("1", "text/html", 406),
        ("1", "image/jp2", 406),
        ("1", 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.4.90', 406),
    ],
)
def test_what_cannot_be_sent_is_refused(
    archive: Archive, series: dict[str, CtSeries], frames: str, accept: str, status: int
) -> None:
    url = frame_url(archive, series["jpegls"], 0, frames)
    assert requests.get(url, headers={"Accept": accept}, timeout=30).status_code == status


def test_frames_take_their_own_media_type(archive: Archive, series: dict[str, CtSeries]) -> None:
    headers = {"Accept": 'multipart/related; type="image/jls"'}
    answer = requests.get(frame_url(archive, series["jpegls"], 0), headers=headers, timeout=30)
    assert answer.headers["Content-Type"].startswith('multipart/related; type="image/jls"')
    assert b"Content-Type: image/jls; transfer-syntax=1.2.840.10008.1.2.4.80" in answer.content[:300]


def test_what_is_not_here_is_not_found(archive: Archive, series: dict[str, CtSeries]) -> None:
    one, other = series["explicit"], series["implicit"]
    for path in (
        "1.2.3/metadata",
        f"{one.study_instance_uid}/series/{other.series_instance_uid}/metadata",
        f"{one.study_instance_uid}/series/{one.series_instance_uid}/instances/{other.sop_instance_uids[0]}/metadata",
    ):
        assert requests.get(f"{archive.url}/studies/{path}", timeout=30).status_code == 404


def test_a_damaged_file_is_left_out_and_does_no_harm(
    archive: Archive, series: dict[str, CtSeries], tmp_path: Path
) -> None:
    written = ct_series(tmp_path, n=2, rows=32, seed=99)
    index_series(archive.database, written, archive.store.root)
    items = archive.client.retrieve_series_metadata(written.study_instance_uid, written.series_instance_uid)
    assert len(items) == 2
    for path in archive.store.root.glob("*.dcm"):
        if path.read_bytes() == written.paths[0].read_bytes():
            path.write_bytes(path.read_bytes()[:400])
    items = archive.client.retrieve_series_metadata(written.study_instance_uid, written.series_instance_uid)
    assert [one["00080018"]["Value"][0] for one in items] == [written.sop_instance_uids[1]]
    answer = requests.get(frame_url(archive, written, 0), timeout=30)
    assert answer.status_code == 422


def test_a_frame_that_claims_to_be_huge_is_sent_as_stored_and_never_decoded(archive: Archive, tmp_path: Path) -> None:
    written = ct_series(tmp_path, n=1, rows=32, seed=98, transfer_syntax="rle")
    ds = pydicom.dcmread(written.paths[0])
    ds.Rows = ds.Columns = 20_000
    ds.save_as(written.paths[0])
    index_series(archive.database, written, archive.store.root)
    url = frame_url(archive, written, 0)
    stored = requests.get(url, headers={"Accept": f"{OCTETS}; transfer-syntax=*"}, timeout=60)
    assert stored.status_code == 200
    for path, accept in (("", "*/*"), ("/rendered", "image/png")):
        assert requests.get(url + path, headers={"Accept": accept}, timeout=60).status_code == 422


def test_a_damaged_instance_is_refused_in_every_form_and_reported(tmp_path: Path) -> None:
    with serving(tmp_path) as archive:
        written = ct_series(tmp_path / "sent", n=3, rows=32)
        archive.client.store_instances([pydicom.dcmread(path) for path in written.paths])
        study, series = written.study_instance_uid, written.series_instance_uid
        address = f"{archive.url}/studies/{study}/series/{series}"
        damaged = f"{address}/instances/{written.sop_instance_uids[1]}"
        forms = ["", "/frames/1", "/rendered", "/bulkdata/7FE00010"]
        assert [requests.get(damaged + form, timeout=30).status_code for form in forms] == [200] * 4
        with archive.database.read() as session:
            (row,) = instances(session, [study], sop_instance_uids=[written.sop_instance_uids[1]])
        path = archive.store.root / row.path
        content = bytearray(path.read_bytes())
        content[-7] ^= 1
        path.write_bytes(content)
        for form in forms:
            answer = requests.get(damaged + form, headers={"Accept": "*/*"}, timeout=30)
            assert (answer.status_code, "damaged" in answer.text) == (500, True), form
        assert requests.get(address, timeout=30).status_code == 500
        assert len(requests.get(f"{address}/metadata", timeout=30).json()) == 2
        other = f"{address}/instances/{written.sop_instance_uids[0]}/frames/1"
        assert requests.get(other, timeout=30).status_code == 200
        with archive.database.read() as session:
            (fault,) = faults.faults(session)
        assert (fault.code, fault.study_instance_uid) == (faults.DAMAGED_FILE, study)
