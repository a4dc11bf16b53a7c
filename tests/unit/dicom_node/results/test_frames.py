"""Attributes of one slice or frame are never taken for the others of its instance or series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import LegacyConvertedEnhancedCTImageStorage

from db.domain.findings import NewFinding
from dicom_node.results.child import make_results
from dicom_node.results.presentation_state import outlined_frames
from dicom_node.sandbox.frames import read_frame_headers
from tests.support.enhanced_ct import write_enhanced
from tests.support.factories import CtSeries, Defects, SimpleNodule, ct_series, phantom_of
from tests.unit.dicom_node.results.test_objects import errors_of, finding, job_of

NODULE = SimpleNodule((6.0, 20.0, 14.0), 14.0)
COUNT = 10
Pair = tuple[str, str]
SAME, DOUBLE, OTHER = ("1", "-1024"), ("2", "-2048"), ("1", "-1000")


def single_frames(folder: Path, rescales: Sequence[Pair | None]) -> CtSeries:
    """A series of single-frame instances."""

    def rescale(ds: Dataset, index: int) -> None:
        pair = rescales[index]
        if pair is None:
            del ds.RescaleSlope, ds.RescaleIntercept
        else:
            ds.RescaleSlope, ds.RescaleIntercept = pair

    return ct_series(folder, n=COUNT, rows=40, nodules=(NODULE,), defects=Defects(alter=rescale))


def multi_frame(folder: Path, rescales: Sequence[Pair | None], *, legacy: bool = False) -> CtSeries:
    """The same in one instance, with a Pixel Value Transformation for each frame, or a shared one where all agree."""
    plain = ct_series(folder / "plain", n=COUNT, rows=40, nodules=(NODULE,))
    path = write_enhanced(phantom_of(plain), folder / "enhanced")
    ds = pydicom.dcmread(path)
    if legacy:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = LegacyConvertedEnhancedCTImageStorage
    if len(set(rescales)) > 1:
        del ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
        for group, pair in zip(ds.PerFrameFunctionalGroupsSequence, rescales, strict=True):
            if pair is not None:
                item = Dataset()
                (item.RescaleSlope, item.RescaleIntercept), item.RescaleType = pair, "HU"
                group.PixelValueTransformationSequence = [item]
    ds.save_as(path)
    return replace(
        plain, paths=(path,), sop_instance_uids=(str(ds.SOPInstanceUID),),
        study_instance_uid=str(ds.StudyInstanceUID), series_instance_uid=str(ds.SeriesInstanceUID),
    )  # fmt: skip


def legacy(folder: Path, rescales: Sequence[Pair | None]) -> CtSeries:
    return multi_frame(folder, rescales, legacy=True)


Make = Callable[[Path, Sequence[Pair | None]], CtSeries]
RESCALES: list[tuple[str, Sequence[Pair | None], int]] = [
    ("one for all", [SAME] * COUNT, 1),
    ("two halves", [SAME] * 5 + [DOUBLE] * 5, 2),
    ("alternating", [SAME, DOUBLE] * 5, 2),
    ("three", [SAME, DOUBLE, OTHER, SAME, SAME, DOUBLE, OTHER, SAME, SAME, SAME], 3),
    ("the first apart", [DOUBLE] + [SAME] * 9, 2),
    ("one without", [None] + [SAME] * 9, 1),
]


@pytest.mark.parametrize("make", [single_frames, multi_frame, legacy])
@pytest.mark.parametrize(("rescales", "count"), [(r, n) for _, r, n in RESCALES], ids=[name for name, _, _ in RESCALES])
def test_each_rescale_has_a_presentation_state_of_its_own(
    tmp_path: Path, make: Make, rescales: Sequence[Pair | None], count: int
) -> None:
    series = make(tmp_path, rescales)
    is_single = make is single_frames
    marks = [mark(series, index if is_single else 0, 1 if is_single else index + 1) for index in range(COUNT)]
    job = job_of(series, tmp_path / "r", *marks, kinds=("pr",))
    objects = make_results(job)
    assert objects.failures == {}
    assert [one.kind for one in objects.objects] == ["sr", *["pr"] * count]
    outlined: list[int] = []
    for one in objects.objects[1:]:
        state = pydicom.dcmread(job.folder / one.path)
        assert state.SOPInstanceUID == one.sop_instance_uid
        named = {
            (image.ReferencedSOPInstanceUID, frame)
            for image in state.ReferencedSeriesSequence[0].ReferencedImageSequence
            for frame in frames_of(image, 1 if is_single else COUNT)
        }
        for annotation in state.GraphicAnnotationSequence:
            (image,) = annotation.ReferencedImageSequence
            frame = int(image.get("ReferencedFrameNumber", 1))
            uid = image.ReferencedSOPInstanceUID
            assert (uid, frame) in named
            outlined.append(series.sop_instance_uids.index(uid) if is_single else frame - 1)
        indices = [series.sop_instance_uids.index(uid) if is_single else frame - 1 for uid, frame in named]
        own = {rescales[index] for index in indices}
        assert own == {(f"{float(state.RescaleSlope):g}", f"{float(state.RescaleIntercept):g}")}
        assert errors_of(job.folder / one.path) == []
    assert sorted(outlined) == [index for index, pair in enumerate(rescales) if pair is not None]


def mark(series: CtSeries, instance: int, frame: int) -> NewFinding:
    """A finding on one frame of one instance."""
    uid = series.sop_instance_uids[instance]
    return finding(replace(series, sop_instance_uids=(uid,) * COUNT), frame_number=frame)


def frames_of(image: Dataset, count: int) -> list[int]:
    """Frame numbers that a reference names; all where it names none."""
    named = image.get("ReferencedFrameNumber")
    if named is None:
        return list(range(1, count + 1))
    return [int(number) for number in ([named] if isinstance(named, int) else named)]


def test_states_keep_their_names_when_they_are_made_again(tmp_path: Path) -> None:
    series = multi_frame(tmp_path, [SAME] * 5 + [DOUBLE] * 5)
    marks = [mark(series, 0, number) for number in (2, 8)]
    job = job_of(series, tmp_path / "r", *marks, kinds=("pr",))
    first = make_results(job)
    files = {one.path: (job.folder / one.path).read_bytes() for one in first.objects}
    (job.folder / first.objects[2].path).unlink()
    assert make_results(job) == first
    assert {path: (job.folder / path).read_bytes() for path in files} == files


def test_a_series_without_any_rescale_has_no_presentation_state(tmp_path: Path) -> None:
    series = single_frames(tmp_path, [None] * COUNT)
    job = job_of(series, tmp_path / "r", finding(series), kinds=("pr",))
    assert outlined_frames(job) == []
    assert [one.kind for one in make_results(job).objects] == ["sr"]


def test_an_outline_has_the_pixel_spacing_of_its_own_slice(tmp_path: Path) -> None:
    def spacing(ds: Dataset, index: int) -> None:
        ds.PixelSpacing = ["0.5", "0.5"] if index == 2 else ["1.0", "1.0"]

    series = ct_series(tmp_path, n=COUNT, rows=40, spacing_mm=(2.0, 1.0, 1.0), defects=Defects(alter=spacing))
    marks = [mark(series, index, 1) for index in (2, 3)]
    job = job_of(series, tmp_path / "r", *marks, kinds=("pr",))
    (_, one) = make_results(job).objects
    radii = [
        annotation.GraphicObjectSequence[0].GraphicData[2] - annotation.GraphicObjectSequence[0].GraphicData[0]
        for annotation in pydicom.dcmread(job.folder / one.path).GraphicAnnotationSequence
    ]
    assert radii == pytest.approx([14.0, 7.0])


def test_each_frame_has_its_own_acquisition_attributes(tmp_path: Path) -> None:
    series = multi_frame(tmp_path, [SAME] * COUNT)
    ds = pydicom.dcmread(series.paths[0])
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        item.SliceThickness = str(1 + number)
        group.PixelMeasuresSequence = [item]
    ds.save_as(series.paths[0])
    thickness = [frame.attributes["SliceThickness"] for frame in read_frame_headers(series.paths[0])]
    assert [float(text) for text in thickness] == [float(1 + number) for number in range(COUNT)]
