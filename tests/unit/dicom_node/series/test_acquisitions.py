"""Separation of two stacks in one series: by attributes that alternate, not by those that merely differ."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.phantom.writer import SeriesIdentity, SeriesLayout, save_instance, series_common, slice_instance
from dicom_node.sandbox.decode_process import DecodeProcess
from dicom_node.series.assembly import load_series, series_geometry
from dicom_node.series.types import StoredInstance
from tests.support.enhanced_ct import enhanced_instance
from tests.support.factories import simple_chest

MM = 2.5
PIXEL_MM = 0.7
ROWS = 32
A = {"AcquisitionNumber": 1, "AcquisitionTime": "091500"}
B = {"AcquisitionNumber": 2, "AcquisitionTime": "091630"}
SAME = {"AcquisitionNumber": 1, "AcquisitionTime": "091500"}


@pytest.fixture(scope="module")
def process() -> Any:
    with DecodeProcess() as child:
        yield child


@dataclass(frozen=True)
class Part:
    """Evenly spaced images of one acquisition; ``describe`` sets attributes of the image at an index."""

    count: int = 24
    start_mm: float = 0.0
    spacing_mm: float = MM
    attributes: dict[str, Any] = field(default_factory=dict)
    describe: Callable[[Dataset, int], None] | None = None
    first_number: int = 1
    is_descending: bool = False
    shift: int = 0
    """Columns by which the chest is moved: another breath."""

    def chest(self) -> NDArray[np.int16]:
        chest = simple_chest(self.count, ROWS, ROWS, (self.spacing_mm, PIXEL_MM, PIXEL_MM), seed=self.first_number)
        return np.roll(chest, self.shift, axis=2)


def write(folder: Path, *parts: Part) -> list[StoredInstance]:
    folder.mkdir(exist_ok=True)
    paths: list[Path] = []
    who = SeriesIdentity().resolved("mixed")
    for number, part in enumerate(parts):
        layout = SeriesLayout((part.spacing_mm, PIXEL_MM, PIXEL_MM), (0.0, 0.0, part.start_mm))
        common = series_common(who, layout)
        for index, slice_hu in enumerate(part.chest()):
            ds = slice_instance(common, layout, slice_hu, index)
            ds.SOPInstanceUID = f"{ds.SOPInstanceUID[:-3]}.{number}.{index}"
            position = part.count - 1 - index if part.is_descending else index
            ds.InstanceNumber = part.first_number + position
            for keyword, value in part.attributes.items():
                setattr(ds, keyword, value)
            if part.describe is not None:
                part.describe(ds, index)
            paths.append(save_instance(ds, folder / f"{number}-{index:03d}.dcm"))
    random.Random(3).shuffle(paths)
    return [StoredInstance("", path) for path in paths]


def two(**changes: Any) -> tuple[Part, Part]:
    """Two acquisitions, the second half a slice above the first."""
    second = Part(attributes=B, start_mm=MM / 2, first_number=25, shift=2)
    return Part(attributes=A), replace(second, **changes)


def differing(**values: tuple[Any, Any]) -> tuple[Part, Part]:
    """The same, separated by the given attributes only."""
    first = SAME | {keyword: pair[0] for keyword, pair in values.items()}
    second = SAME | {keyword: pair[1] for keyword, pair in values.items()}
    return Part(attributes=first), two(attributes=second)[1]


def rotation_times(start_s: int) -> Callable[[Dataset, int], None]:
    def describe(ds: Dataset, index: int) -> None:
        ds.AcquisitionNumber = None
        ds.AcquisitionTime = f"0915{start_s + 0.4 * index:05.2f}"

    return describe


def rotation_numbers(first: int) -> Callable[[Dataset, int], None]:
    def describe(ds: Dataset, index: int) -> None:
        ds.AcquisitionNumber = first + index * 3 // 4

    return describe


KERNELS = (Part(attributes=SAME | {"ConvolutionKernel": "B30f"}),
           Part(attributes=SAME | {"ConvolutionKernel": "B60f"}, first_number=25))  # fmt: skip

MIXED: dict[str, tuple[tuple[Part, ...], int]] = {
    "half a slice higher": (two(), 24),
    "one slice higher": (two(start_mm=MM), 24),
    "a third of a slice higher": (two(start_mm=MM / 3), 24),
    "identical positions": (two(start_mm=0.0), 24),
    "opposite order of image numbers": (two(is_descending=True), 24),
    "unequal counts": ((Part(60, attributes=A), Part(20, MM / 2, 3 * MM, B, first_number=61)), 60),
    "unequal counts at the same positions": ((Part(60, attributes=A), Part(20, 0.0, 3 * MM, B, first_number=61)), 60),
    "partly overlapping ranges": ((Part(40, attributes=A), Part(24, 25 * MM + MM / 2, MM, B, first_number=41)), 40),
    "three stacks": (
        tuple(
            Part(24, n * MM / 3, MM, {"AcquisitionNumber": n + 1}, first_number=24 * n + 1, shift=n) for n in range(3)
        ),
        24,
    ),
    "two breaths with two kernels each": (
        tuple(
            Part(24, start, MM, {"AcquisitionNumber": number, "ConvolutionKernel": kernel}, first_number=24 * n + 1)
            for n, (number, kernel, start) in enumerate(
                [(1, "B30f", 0.0), (1, "B60f", 0.0), (2, "B30f", MM / 2), (2, "B60f", MM / 2)]
            )
        ),
        24,
    ),
    "two kernels at identical positions": (KERNELS, 24),
    "times of rotations, no acquisition numbers": (
        (Part(describe=rotation_times(0)), two(describe=rotation_times(40))[1]),
        24,
    ),
    "a number for each rotation in both": (
        (Part(describe=rotation_numbers(1)), two(describe=rotation_numbers(30))[1]),
        24,
    ),
    "acquisition number": (differing(AcquisitionNumber=(1, 2)), 24),
    "acquisition time": (differing(AcquisitionTime=("091500", "091630.25")), 24),
    "acquisition date and time": (differing(AcquisitionDateTime=("20260105091500", "20260105091630")), 24),
    "irradiation event": (differing(IrradiationEventUID=("1.2.3", "1.2.4")), 24),
    "kernel": (differing(ConvolutionKernel=("STANDARD", "BONE")), 24),
    "filter": (differing(FilterType=("BODY FILTER", "HEAD FILTER")), 24),
    "temporal position": (differing(TemporalPositionIdentifier=(1, 2)), 24),
    "trigger time": (differing(TriggerTime=("300", "700")), 24),
    "cardiac phase": (differing(NominalPercentageOfCardiacPhase=(40.0, 75.0)), 24),
    "image type": (
        differing(ImageType=(["ORIGINAL", "PRIMARY", "AXIAL", "DE_A"], ["ORIGINAL", "PRIMARY", "AXIAL", "DE_B"])),
        24,
    ),
    "tube voltage": (differing(KVP=("80", "140")), 24),
    "series description": (differing(SeriesDescription=("INSP", "EXSP")), 24),
    "contrast": (differing(ContrastBolusAgent=("", "IOPAMIDOL")), 24),
    "content time at identical positions": (
        (Part(attributes=SAME | {"ContentTime": "0915"}),
         Part(attributes=SAME | {"ContentTime": "0916"}, first_number=25)),
        24,
    ),
    "exposure, and a third of a slice higher": (
        (Part(attributes=SAME | {"Exposure": "40"}),
         Part(attributes=SAME | {"Exposure": "90"}, start_mm=MM / 3, first_number=25)),
        24,
    ),
    "image numbers alone at identical positions": (
        (Part(attributes=SAME), Part(attributes=SAME, first_number=25)),
        24,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
def test_the_largest_stack_is_read_and_the_others_are_stated(tmp_path: Path, process: DecodeProcess, name: str) -> None:
    parts, count = MIXED[name]
    result = load_series(write(tmp_path, *parts), process=process)
    assert "other_acquisitions_left_out" in [caveat.code for caveat in result.caveats]
    np.testing.assert_array_equal(result.volume.volume_hu, parts[0].chest())
    assert len(result.geometry.slices) == count


def numbered_contiguously(ds: Dataset, index: int) -> None:
    ds.AcquisitionNumber = 1 + index * 21 // 28


def numbered_at_random(ds: Dataset, index: int) -> None:
    numbers = random.Random(1).sample(range(1, 22), 21) + random.Random(2).sample(range(1, 22), 7)
    ds.AcquisitionNumber = numbers[index]


def numbered_images_at_random(ds: Dataset, index: int) -> None:
    ds.InstanceNumber = random.Random(4).sample(range(28), 28)[index]


def modulated(ds: Dataset, index: int) -> None:
    ds.XRayTubeCurrent = 200 + int(80 * np.cos(index / 3))
    ds.Exposure = 100 + index % 3
    ds.ContentTime = f"0915{index // 2:02d}"


def created_in_parallel(ds: Dataset, index: int) -> None:
    """Two computers reconstruct alternate images at a time of their own."""
    ds.InstanceCreationTime = f"0915{index // 2:02d}" if index % 2 else f"0917{index // 2:02d}"
    ds.ContentTime = ds.InstanceCreationTime


def without_every_ninth_number(ds: Dataset, index: int) -> None:
    if index % 9 == 0:
        del ds.AcquisitionNumber


ONE: dict[str, tuple[Part, ...]] = {
    "21 acquisition numbers in 28 slices": (Part(28, describe=numbered_contiguously),),
    "21 acquisition numbers in any order": (Part(28, describe=numbered_at_random),),
    "modulated tube current": (Part(28, describe=modulated),),
    "parallel reconstruction": (Part(28, describe=created_in_parallel),),
    "image numbers in any order": (Part(28, describe=numbered_images_at_random),),
    "two blocks along the patient": (Part(20, attributes=A), Part(20, 20 * MM, MM, B, first_number=21)),
    "a few values absent": (Part(28, describe=without_every_ninth_number),),
    "rotations of four slices": (Part(28, describe=lambda ds, index: setattr(ds, "AcquisitionNumber", index // 4)),),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_what_merely_differs_stays_one_stack(tmp_path: Path, process: DecodeProcess, name: str) -> None:
    result = load_series(write(tmp_path, *ONE[name]), process=process)
    assert len(result.geometry.slices) == sum(part.count for part in ONE[name])
    assert not [caveat for caveat in result.caveats if caveat.code == "other_acquisitions_left_out"]


def test_stacks_none_of_which_is_complete_are_refused_as_mixed(tmp_path: Path, process: DecodeProcess) -> None:
    parts = (Part(12, 0.0, 8.0, A), Part(12, 4.0, 8.0, B, first_number=13))
    with pytest.raises(UnfitImagesError, match="Acquisition Number") as refused:
        load_series(write(tmp_path, *parts), process=process)
    assert refused.value.reason.code == "mixed_stacks"


def test_what_is_shown_of_repeated_positions_is_what_is_analysed(tmp_path: Path, process: DecodeProcess) -> None:
    instances = write(tmp_path, *MIXED["unequal counts at the same positions"][0])
    shown, loaded = series_geometry(instances, process), load_series(instances, process=process)
    assert shown.slices == loaded.geometry.slices


def enhanced(
    folder: Path, attribute: Callable[[Dataset, int], None], start_mm: float, *, files: int
) -> list[StoredInstance]:
    """Two phases as Enhanced CT, in one instance or one each."""
    layout = SeriesLayout((MM, PIXEL_MM, PIXEL_MM), (0.0, 0.0, 0.0))
    parts = [Part(), Part(shift=2, first_number=25)]
    written = [
        enhanced_instance(SeriesIdentity(uid_seed="phases").resolved(""), layout, each.chest()) for each in parts
    ]
    for phase, ds in enumerate(written):
        for groups in ds.PerFrameFunctionalGroupsSequence:
            z = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
            groups.PlanePositionSequence[0].ImagePositionPatient = ["0", "0", str(z + phase * start_mm)]
            attribute(groups, phase)
    folder.mkdir(exist_ok=True)
    if files == 2:
        written[1].SOPInstanceUID = f"{written[1].SOPInstanceUID}.2"
        paths = [save_instance(ds, folder / f"{number}.dcm") for number, ds in enumerate(written)]
        return [StoredInstance("", path) for path in paths]
    first, second = written
    both = zip(first.PerFrameFunctionalGroupsSequence, second.PerFrameFunctionalGroupsSequence, strict=True)
    pixels = np.stack([np.frombuffer(ds.PixelData, "<u2").reshape(24, -1) for ds in written], axis=1)
    first.PerFrameFunctionalGroupsSequence = Sequence([groups for pair in both for groups in pair])
    first.NumberOfFrames, first.PixelData = 48, pixels.tobytes()
    return [StoredInstance("", save_instance(first, folder / "both.dcm"))]


def set_content(**values: tuple[Any, Any]) -> Callable[[Dataset, int], None]:
    def attribute(groups: Dataset, phase: int) -> None:
        content = groups.FrameContentSequence[0]
        content.DimensionIndexValues = [phase + 1, content.InStackPositionNumber]
        for keyword, pair in values.items():
            setattr(content, keyword, pair[phase])

    return attribute


def set_group(sequence: str, keyword: str, pair: tuple[Any, Any]) -> Callable[[Dataset, int], None]:
    def attribute(groups: Dataset, phase: int) -> None:
        item = Dataset()
        setattr(item, keyword, pair[phase])
        setattr(groups, sequence, Sequence([item]))

    return attribute


PHASES = {
    "acquisition number": set_content(FrameAcquisitionNumber=(1, 2)),
    "acquisition time": set_content(FrameAcquisitionDateTime=("20260105091500", "20260105091530")),
    "temporal position": set_content(TemporalPositionIndex=(1, 2)),
    "stack": set_content(StackID=("1", "2")),
    "dimension index alone": set_content(),
    "kernel": set_group("CTReconstructionSequence", "ConvolutionKernel", ("B30f", "B60f")),
    "cardiac phase": set_group("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", (40.0, 75.0)),
    "contrast phase": set_group("ContrastBolusUsageSequence", "ContrastBolusAgentPhase", ("ARTERIAL", "VENOUS")),
    "tube voltage": set_group("CTXRayDetailsSequence", "KVP", ("80", "140")),
    "unassigned attributes of a converted series": set_group(
        "UnassignedPerFrameConvertedAttributesSequence", "TriggerTime", ("300", "700")
    ),
}


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("start_mm", [0.0, MM / 2])
@pytest.mark.parametrize("name", PHASES)
def test_phases_of_an_enhanced_ct_are_distinguished(
    tmp_path: Path, process: DecodeProcess, name: str, start_mm: float, files: int
) -> None:
    result = load_series(enhanced(tmp_path, PHASES[name], start_mm, files=files), process=process)
    assert "other_acquisitions_left_out" in [caveat.code for caveat in result.caveats]
    np.testing.assert_array_equal(result.volume.volume_hu, Part().chest())
