"""Measured masks become segments that the report refers to; each segment is the stored mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from db.domain.findings import NewFinding
from db.domain.masks import FindingAxes, FindingMask, MaskSlice
from dicom_node.results.job import KINDS, Purpose, ReportJob, expected_objects, segment_numbers
from dicom_node.results.objects import make_in_child
from inference.nodules.mask import decode_runs, encode_runs
from tests.support.enhanced_ct import write_enhanced
from tests.support.factories import CtSeries, Defects, ct_series, phantom_of
from tests.support.results import make_objects
from tests.unit.dicom_node.results.test_objects import (
    NODULE,
    errors_of,
    finding,
    groups_of,
    item_of,
    job_of,
    read_all,
)

SIZES = {"perpendicular_mm": 9.5, "mean_diameter_mm": 11.8, "volume_mm3": 812, "volume_repeatability": 0.25}


@pytest.fixture
def series(tmp_path: Path) -> CtSeries:
    return ct_series(tmp_path / "series", n=12, rows=40, nodules=(NODULE,), shuffle=True)


def mask_on(frames: tuple[MaskSlice, ...], corner: tuple[int, int] = (15, 10), seed: int = 1) -> FindingMask:
    """An irregular mask with axes on its second slice."""
    inside = np.random.default_rng(seed).random((len(frames), 9, 7)) < 0.6
    inside[0, 0, 0] = inside[-1, -1, -1] = True
    row, column = corner
    axes = FindingAxes(
        1,
        ((row + 0.5, column + 1.25), (row + 7.0, column + 5.0)),
        ((row + 6.0, column + 1.0), (row + 2.0, column + 5.0)),
    )
    return FindingMask(frames, row, column, 9, 7, encode_runs(inside), axes)


def measured(series: CtSeries, first: int = 5, **changes: object) -> NewFinding:
    frames = tuple(MaskSlice(uid, 1) for uid in series.sop_instance_uids[first : first + 3])
    return finding(series, **({"mask": mask_on(frames), "diameter_mm": 14.0, "attributes": SIZES} | changes))


def inside_of(mask: FindingMask) -> dict[tuple[str, int], np.ndarray]:
    """The mask of each frame in an image of 40 x 40."""
    box = decode_runs(mask.runs, mask.shape)
    images = {}
    for index, one in enumerate(mask.slices):
        image = np.zeros((40, 40), bool)
        image[mask.row : mask.row + mask.rows, mask.column : mask.column + mask.columns] = box[index]
        images[one.sop_instance_uid, one.frame_number] = image
    return images


def frames_of(seg: Dataset) -> dict[int, dict[tuple[str, int], np.ndarray]]:
    """Read the frames of each segment by their source frames, with pydicom alone."""
    segments: dict[int, dict[tuple[str, int], np.ndarray]] = {}
    pixels = np.atleast_3d(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns)
    for groups, image in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        identified = groups if "SegmentIdentificationSequence" in groups else seg.SharedFunctionalGroupsSequence[0]
        number = identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        key = str(source.ReferencedSOPInstanceUID), int(source.get("ReferencedFrameNumber", 1))
        segments.setdefault(number, {})[key] = image.astype(bool)
    return segments


def assert_segments_are_masks(seg: Dataset, *masks: FindingMask) -> None:
    segments = frames_of(seg)
    assert sorted(segments) == list(range(1, len(masks) + 1))
    for number, mask in enumerate(masks, start=1):
        expected = {key: image for key, image in inside_of(mask).items() if image.any()}
        assert segments[number].keys() == expected.keys()
        assert all(np.array_equal(segments[number][key], image) for key, image in expected.items())


def objects_of(job: ReportJob) -> dict[str, Dataset]:
    return {result.kind: ds for result, ds in zip(expected_objects(job), read_all(job), strict=True)}


@pytest.mark.parametrize("overlapping", [False, True])
def test_each_segment_is_the_mask_of_its_finding(series: CtSeries, tmp_path: Path, overlapping: bool) -> None:
    corner = (17, 12) if overlapping else (2, 25)
    other = measured(series, 4)
    assert other.mask is not None
    second = replace(other, mask=mask_on(other.mask.slices, corner, seed=2))
    job = job_of(series, tmp_path / "r", measured(series), finding(series), second)
    datasets = objects_of(job)
    assert list(datasets) == ["sr", "sc", "pr", "seg"]
    seg, first = datasets["seg"], job.findings[0].finding
    assert (seg.Modality, seg.SegmentationType, seg.SOPClassUID.name) == ("SEG", "BINARY", "Segmentation Storage")
    assert first.mask is not None
    assert second.mask is not None
    assert_segments_are_masks(seg, first.mask, second.mask)
    described = {one.SegmentNumber: one for one in seg.SegmentSequence}
    groups = groups_of(datasets["sr"])[1:]
    assert segment_numbers(job) == {1: 1, 3: 2}
    for number, segment in segment_numbers(job).items():
        assert described[segment].TrackingID == f"Finding {number}"
        assert described[segment].TrackingUID == item_of(groups[number - 1], "112040").UID
    for result in expected_objects(job):
        assert errors_of(job.folder / result.path) == []


def test_highdicom_reads_segments_and_the_report_that_refers_to_them(series: CtSeries, tmp_path: Path) -> None:
    job = job_of(series, tmp_path / "r", finding(series), measured(series))
    make_objects(job)
    paths = {result.kind: job.folder / result.path for result in expected_objects(job)}
    seg = hd.seg.segread(paths["seg"])
    assert seg.number_of_segments == 1
    mask = job.findings[1].finding.mask
    assert mask is not None
    uids = [one.sop_instance_uid for one in mask.slices]
    pixels = seg.get_pixels_by_source_instance(uids, segment_numbers=[1])[..., 0]
    assert np.array_equal(pixels.astype(bool), np.stack(list(inside_of(mask).values())))
    sr = hd.sr.srread(paths["sr"])
    (group,) = sr.content.get_volumetric_roi_measurement_groups()
    reference = group.referenced_segment
    assert reference.referenced_sop_instance_uid == seg.SOPInstanceUID
    assert list(reference.referenced_segment_numbers or []) == [1]
    assert group.tracking_uid == seg.get_segment_description(1).tracking_uid
    named = {item.ReferencedSOPInstanceUID
             for study in sr.CurrentRequestedProcedureEvidenceSequence
             for one in study.ReferencedSeriesSequence
             for item in one.ReferencedSOPSequence}  # fmt: skip
    assert {seg.SOPInstanceUID, *series.sop_instance_uids} == named
    assert len(sr.content.get_planar_roi_measurement_groups()) == 1


def test_axes_are_inferred_from_coordinates_and_the_volume_has_its_repeatability(
    series: CtSeries, tmp_path: Path
) -> None:
    job = job_of(series, tmp_path / "r", measured(series))
    group = groups_of(objects_of(job)["sr"])[1]
    mask = job.findings[0].finding.mask
    assert mask is not None
    assert mask.axes is not None
    for code, length_mm, line in (("103339001", 14.0, mask.axes.long), ("103340004", 9.5, mask.axes.short)):
        item = item_of(group, code)
        assert float(item.MeasuredValueSequence[0].NumericValue) == length_mm
        (coordinates,) = item.ContentSequence
        assert (coordinates.ValueType, coordinates.RelationshipType) == ("SCOORD", "INFERRED FROM")
        assert coordinates.GraphicType == "POLYLINE"
        points = np.array(coordinates.GraphicData).reshape(-1, 2) - 0.5
        assert points[:, ::-1] == pytest.approx(np.array(line))
        image = coordinates.ContentSequence[0].ReferencedSOPSequence[0]
        assert image.ReferencedSOPInstanceUID == mask.slices[1].sop_instance_uid
    volume = item_of(group, "118565006")
    assert float(volume.MeasuredValueSequence[0].NumericValue) == 812
    assert [float(item.MeasuredValueSequence[0].NumericValue) for item in volume.ContentSequence] == [203.0, 203.0]
    numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    mean = [item for item in numbers if item.ConceptNameCodeSequence[0].CodeValue == codes.SCT.Diameter.value]
    assert [float(item.MeasuredValueSequence[0].NumericValue) for item in mean] == [14.0, 11.8]
    assert item_of(mean[1], "121401").ConceptCodeSequence[0].CodeValue == codes.SCT.Mean.value
    comments = [i.TextValue for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "121106"]
    assert "A change of volume below 25 % is within repeatability" in comments


@pytest.mark.parametrize(("limit", "text"), [("size", "below 6 mm"), ("slice_thickness", "thicker than 1.5 mm")])
def test_the_report_says_why_there_is_no_density_class(series: CtSeries, tmp_path: Path, limit: str, text: str) -> None:
    job = job_of(series, tmp_path / "r", measured(series, attributes=SIZES | {"density_limit": limit}))
    assert text in objects_of(job)["sr"].to_json()


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({"mask": None}, {}),
        ({}, {"kinds": ("sr", "sc", "pr")}),
        ({}, {"purpose": Purpose.VERIFIED}),
        ({"mask": mask_on((MaskSlice("1.2.3", 1), MaskSlice("1.2.4", 1)))}, {}),
    ],
)
def test_without_a_mask_of_the_series_or_unless_asked_for_there_is_no_segmentation(
    series: CtSeries, tmp_path: Path, changes: dict[str, Any], how: dict[str, Any]
) -> None:
    job = job_of(series, tmp_path / "r", measured(series, **changes), **how)
    assert "seg" not in {result.kind for result in expected_objects(job)}
    assert segment_numbers(job) == {}


def test_a_report_without_segmentation_still_has_the_axes(series: CtSeries, tmp_path: Path) -> None:
    job = job_of(series, tmp_path / "r", measured(series), kinds=("sr",))
    group = groups_of(objects_of(job)["sr"])[1]
    assert item_of(group, "111030").GraphicType == "CIRCLE"
    assert item_of(group, "103339001").ContentSequence[0].GraphicType == "POLYLINE"
    assert errors_of(job.folder / expected_objects(job)[0].path) == []


def test_segments_on_frames_of_an_enhanced_image(tmp_path: Path) -> None:
    plain_series = ct_series(tmp_path / "plain", n=10, rows=40, nodules=(NODULE,))
    path = write_enhanced(phantom_of(plain_series), tmp_path / "enhanced")
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    uid = str(ds.SOPInstanceUID)
    complete = replace(
        plain_series, paths=(path,), sop_instance_uids=(uid,),
        study_instance_uid=str(ds.StudyInstanceUID), series_instance_uid=str(ds.SeriesInstanceUID),
    )  # fmt: skip
    mask = mask_on(tuple(MaskSlice(uid, number) for number in (6, 7, 8)))
    marked = finding(plain_series, sop_instance_uid=uid, frame_number=7, mask=mask, attributes=SIZES)
    job = job_of(complete, tmp_path / "r", marked)
    datasets = objects_of(job)
    assert_segments_are_masks(datasets["seg"], mask)
    coordinates = item_of(groups_of(datasets["sr"])[1], "103339001").ContentSequence[0]
    assert coordinates.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber == 7
    for result in expected_objects(job):
        assert errors_of(job.folder / result.path) == []


@pytest.mark.parametrize("missing", ["SliceThickness", "FrameOfReferenceUID", "PatientSex"])
def test_a_source_that_lacks_an_attribute_gets_a_valid_segmentation(tmp_path: Path, missing: str) -> None:
    poor = ct_series(tmp_path / "s", n=12, rows=40, nodules=(NODULE,), defects=Defects(missing=(missing,)))
    job = job_of(poor, tmp_path / "r", measured(poor), kinds=("sr", "seg"))
    seg = objects_of(job)["seg"]
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(poor.spacing_mm[0], rel=0.5)
    assert errors_of(job.folder / expected_objects(job)[1].path) == []


def test_a_lost_segmentation_is_made_again_with_the_same_bytes(series: CtSeries, tmp_path: Path) -> None:
    job = job_of(series, tmp_path / "r", measured(series), kinds=tuple(KINDS))
    results = make_objects(job)
    contents = [(job.folder / one.path).read_bytes() for one in results]
    for one in results:
        (job.folder / one.path).unlink()
    assert make_in_child(job) == results
    assert [(job.folder / one.path).read_bytes() for one in results] == contents
