"""Contours run along the edges of pixels around the mask, on every slice and page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from db.domain.masks import FindingMask, MaskSlice
from dicom_node.results.contours import contours_of
from dicom_node.results.job import expected_objects
from dicom_node.results.secondary_capture import build_pages
from dicom_node.results.source import read_identity
from inference.nodules.mask import decode_runs, encode_runs
from tests.support.factories import CtSeries, ct_series
from tests.unit.dicom_node.results.test_objects import NODULE, errors_of, finding, job_of, read_all
from tests.unit.dicom_node.results.test_segmentation import inside_of, measured


@pytest.fixture
def series(tmp_path: Path) -> CtSeries:
    return ct_series(tmp_path / "series", n=12, rows=40, nodules=(NODULE,), shuffle=True)


def mask_of(rows: list[str], corner: tuple[int, int] = (3, 5)) -> FindingMask:
    inside = np.array([[[letter == "#" for letter in row] for row in rows]])
    row, column = corner
    return FindingMask((MaskSlice("1.2.3", 1),), row, column, len(rows), len(rows[0]), encode_runs(inside))


def area_of(polygon: np.ndarray) -> float:
    """Signed area of a closed polygon."""
    x, y = polygon.T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


@pytest.mark.parametrize(
    ("rows", "corners"),
    [
        (["#"], [5]),
        (["###", "###"], [5]),
        (["#.", "##"], [7]),
        (["###", "#.#", "###"], [5, 5]),
        (["#.#"], [5, 5]),
        (["#.", ".#"], [9]),
        (["..", ".."], []),
    ],
)
def test_contours_are_closed_turn_at_each_corner_and_enclose_the_mask(rows: list[str], corners: list[int]) -> None:
    mask = (
        FindingMask(
            (MaskSlice("1.2.3", 1), MaskSlice("1.2.4", 1)),
            3,
            5,
            len(rows),
            len(rows[0]),
            (0, len(rows) * len(rows[0]), len(rows) * len(rows[0])),
        )
        if "#" not in "".join(rows)
        else mask_of(rows)
    )
    index = 1 if "#" not in "".join(rows) else 0
    polygons = contours_of(mask, index)
    assert (
        sorted(map(len, polygons)) in (sorted(corners), [5, 5])
        if rows == ["#.", ".#"]
        else sorted(corners) == sorted(map(len, polygons))
    )
    assert sum(map(area_of, polygons)) == "".join(rows).count("#")
    for polygon in polygons:
        assert np.array_equal(polygon[0], polygon[-1])
        assert (np.abs(np.diff(polygon, axis=0)).min(axis=1) == 0).all()
        assert polygon[:, 0].min() >= 5
        assert polygon[:, 1].min() >= 3


def test_a_filled_contour_is_the_mask_again() -> None:
    y, x = np.mgrid[0:31, 0:25]
    inside = ((y - 15) / 14) ** 2 + ((x - 12) / 11) ** 2 <= 1
    mask = FindingMask((MaskSlice("1.2.3", 1),), 0, 0, 31, 25, encode_runs(inside[None]))
    (polygon,) = contours_of(mask, 0)
    image = Image.new("1", (250, 310))
    ImageDraw.Draw(image).polygon([(10 * a, 10 * b) for a, b in polygon.tolist()], fill=1)
    assert np.array_equal(np.asarray(image)[5::10, 5::10], decode_runs(mask.runs, mask.shape)[0])


def graphics_of(pr: Dataset) -> dict[str, list[tuple[str, np.ndarray]]]:
    """The graphics on each image."""
    return {
        str(item.ReferencedImageSequence[0].ReferencedSOPInstanceUID): [
            (str(one.GraphicType), np.array(one.GraphicData).reshape(-1, 2)) for one in item.GraphicObjectSequence
        ]
        for item in pr.GraphicAnnotationSequence
    }


def test_a_presentation_state_has_contours_on_all_slices_of_the_mask_and_the_cross(
    series: CtSeries, tmp_path: Path
) -> None:
    job = job_of(series, tmp_path / "r", measured(series))
    pr = next(ds for ds in read_all(job) if ds.Modality == "PR")
    mask = job.findings[0].finding.mask
    assert mask is not None
    assert mask.axes is not None
    graphics = graphics_of(pr)
    assert set(graphics) == {one.sop_instance_uid for one in mask.slices}
    for index, one in enumerate(mask.slices):
        drawn = graphics[one.sop_instance_uid]
        assert {kind for kind, _ in drawn} == {"POLYLINE"}
        axes = [points for _, points in drawn if len(points) == 2]
        assert len(axes) == (2 if index == mask.axes.slice_index else 0)
        enclosed = sum(area_of(points) for _, points in drawn if len(points) > 2)
        assert enclosed == inside_of(mask)[one.sop_instance_uid, 1].sum()
    labels = [item.TextObjectSequence[0].UnformattedTextValue for item in pr.GraphicAnnotationSequence]
    assert labels == ["1", "1", "1"]
    assert errors_of(next(job.folder / result.path for result in expected_objects(job) if result.kind == "pr")) == []


def test_a_contour_at_the_border_stays_inside_the_image(series: CtSeries, tmp_path: Path) -> None:
    near_border = measured(series)
    assert near_border.mask is not None
    mask = replace(near_border.mask, row=31, column=33)
    pr = next(
        ds for ds in read_all(job_of(series, tmp_path / "r", replace(near_border, mask=mask))) if ds.Modality == "PR"
    )
    assert all(0 <= points.min() <= points.max() <= 40 for drawn in graphics_of(pr).values() for _, points in drawn)


def test_a_page_shows_contour_cross_and_sizes(series: CtSeries, tmp_path: Path) -> None:
    def page(*findings: object) -> np.ndarray:
        job = job_of(series, tmp_path / "r", *findings)  # type: ignore[arg-type]
        return np.asarray(build_pages(job, read_identity(job), [expected_objects(job)[1]])[0].pixel_array)

    with_mask = measured(series)
    circled = replace(with_mask, mask=None)
    drawn, plain = page(with_mask), page(circled)
    assert drawn.shape == plain.shape
    warm = [(one[..., 0] > 200) & (one[..., 2] < 120) for one in (drawn, plain)]
    assert (warm[0] != warm[1]).sum() > 100
    assert "density" not in finding(series, attributes={}).attributes
