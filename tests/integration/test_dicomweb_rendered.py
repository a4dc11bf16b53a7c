"""WADO-RS ``/rendered``: the picture is the frame, in the window and the viewport that were asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pydicom
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

from tests.support.dicomweb import Archive, serving
from tests.support.factories import CtSeries, Defects, ct_series, index_series

ROWS, COLUMNS = 48, 64


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with serving(tmp_path_factory.mktemp("archive")) as served:
        yield served


@pytest.fixture(scope="module")
def series(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> CtSeries:
    attributes = {"WindowCenter": [-600, 40], "WindowWidth": [1500, 400]}
    written = ct_series(
        tmp_path_factory.mktemp("series"), n=2, rows=ROWS, columns=COLUMNS, transfer_syntax="j2k",
        defects=Defects(attributes=attributes),
    )  # fmt: skip
    index_series(archive.database, written, archive.store.root)
    return written


def asked(archive: Archive, series: CtSeries, query: str = "", accept: str = "image/png") -> requests.Response:
    series_path = f"studies/{series.study_instance_uid}/series/{series.series_instance_uid}"
    url = f"{archive.url}/{series_path}/instances/{series.sop_instance_uids[0]}/rendered?{query}"
    return requests.get(url, headers={"Accept": accept}, timeout=60)


def picture(answer: requests.Response) -> NDArray[np.uint8]:
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == answer.headers["Content-Type"].removeprefix("image/").upper()
        return np.asarray(image)


def hounsfield(series: CtSeries) -> NDArray[np.float64]:
    ds = pydicom.dcmread(series.paths[0])
    return ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)


def test_the_image_s_own_window_is_taken_first(archive: Archive, series: CtSeries) -> None:
    expected = np.clip((hounsfield(series) - -600.5) / 1499 + 0.5, 0, 1) * 255
    assert np.abs(picture(asked(archive, series)).astype(float) - expected).max() <= 1


@pytest.mark.parametrize("function", ["linear", "linear-exact", "sigmoid"])
def test_the_window_that_was_asked_for_is_taken(archive: Archive, series: CtSeries, function: str) -> None:
    hu = hounsfield(series)
    shares = {
        "linear": (hu - 39.5) / 399 + 0.5,
        "linear-exact": (hu - 40) / 400 + 0.5,
        "sigmoid": 1 / (1 + np.exp(-4 * (hu - 40) / 400)),
    }[function]
    grey = picture(asked(archive, series, f"window=40,400,{function}")).astype(float)
    assert np.abs(grey - np.clip(shares, 0, 1) * 255).max() <= 1


def test_jpeg_is_the_default_and_close_to_the_frame(archive: Archive, series: CtSeries) -> None:
    jpeg = asked(archive, series, "quality=95", accept="*/*")
    assert jpeg.headers["Content-Type"] == "image/jpeg"
    difference = picture(jpeg).astype(float) - picture(asked(archive, series)).astype(float)
    assert np.abs(difference).mean() < 3


def test_a_viewport_cuts_and_scales_without_distortion(archive: Archive, series: CtSeries) -> None:
    full = picture(asked(archive, series))
    assert picture(asked(archive, series, "viewport=32,32")).shape == (24, 32)
    cut = picture(asked(archive, series, "viewport=16,8,10,20,16,8"))
    assert np.array_equal(cut, full[20:28, 10:26])


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [
        ("window=40", "image/png", 400),
        ("window=40,0", "image/png", 400),
        ("window=nan,400", "image/png", 400),
        ("window=40,400,cubic", "image/png", 400),
        ("viewport=0,10", "image/png", 400),
        ("viewport=99999,10", "image/png", 400),
        ("viewport=10,10,0,0,0,0", "image/png", 400),
        ("viewport=10,10,900,900,10,10", "image/png", 422),
        ("quality=0", "image/png", 400),
        ("", "image/gif", 406),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    archive: Archive, series: CtSeries, query: str, accept: str, status: int
) -> None:
    assert asked(archive, series, query, accept).status_code == status
