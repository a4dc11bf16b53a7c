"""The phantom says what it is, is the same for the same seed, and its nodules lie where its truth says."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.nodules import NoSpaceForNoduleError
from dicom_node.phantom.series import write_series
from dicom_node.phantom.spec import Attachment, NoduleKind, NoduleSpec, Phantom, PhantomSpec
from dicom_node.phantom.writer import SERIES_DESCRIPTION, TRANSFER_SYNTAXES, SeriesIdentity
from tests.support.enhanced_ct import write_enhanced

SMALL = PhantomSpec(slices=64, slice_spacing_mm=4.4, rows=160, columns=160, pixel_spacing_mm=2.2, seed=3)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(SMALL)


def _read_volume(paths: tuple[Path, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Volume in HU ordered by position, and the affine of (slice, row, column), from the files alone."""
    datasets = sorted((pydicom.dcmread(path) for path in paths), key=lambda ds: float(ds.ImagePositionPatient[2]))
    volume = np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in datasets])
    first, last = (np.array(ds.ImagePositionPatient, float) for ds in (datasets[0], datasets[-1]))
    affine = np.eye(4)
    affine[:3, 0] = (last - first) / (len(datasets) - 1)
    affine[:3, 1] = np.array(datasets[0].ImageOrientationPatient[3:], float) * float(datasets[0].PixelSpacing[0])
    affine[:3, 2] = np.array(datasets[0].ImageOrientationPatient[:3], float) * float(datasets[0].PixelSpacing[1])
    affine[:3, 3] = first
    return volume, affine


def test_the_same_spec_gives_the_same_voxels_and_another_seed_others(phantom: Phantom) -> None:
    again = make_phantom(SMALL)
    assert np.array_equal(phantom.volume_hu, again.volume_hu)
    assert phantom.nodules == again.nodules
    assert not np.array_equal(phantom.volume_hu, make_phantom(replace(SMALL, seed=4)).volume_hu)


def test_nodules_lie_where_the_truth_says_when_read_back_from_dicom(tmp_path: Path) -> None:
    spec = replace(SMALL, noise_hu=0.0, vessels=False)
    with_nodules = make_phantom(spec)
    volume, affine = _read_volume(write_series(with_nodules, tmp_path))
    plain = make_phantom(replace(spec, nodules=()))
    for nodule in with_nodules.nodules:
        if nodule.attachment is not Attachment.NONE:
            continue
        bright = np.argwhere(volume - plain.volume_hu > 60)
        position = bright @ affine[:3, :3].T + affine[:3, 3]
        mine = np.linalg.norm(position - nodule.position_mm, axis=1) < nodule.diameter_mm
        weight = (volume - plain.volume_hu)[tuple(bright[mine].T)]
        assert len(weight)
        center = (position[mine] * weight[:, None]).sum(axis=0) / weight.sum()
        assert np.linalg.norm(center - nodule.position_mm) < 1.5, nodule
        placed = (affine @ np.array([*nodule.index, 1.0]))[:3]
        assert np.allclose(placed, nodule.position_mm, atol=1e-3)


def test_a_solid_nodule_has_the_volume_of_its_diameter() -> None:
    spec = replace(SMALL, noise_hu=0.0, vessels=False, nodules=(NoduleSpec(NoduleKind.SOLID, 16.0, side="left"),))
    phantom, plain = make_phantom(spec), make_phantom(replace(spec, nodules=()))
    share = (phantom.volume_hu.astype(float) - plain.volume_hu) / (52 + 868)
    volume_mm3 = share.sum() * np.prod(phantom.spacing_mm)
    assert (6 * volume_mm3 / np.pi) ** (1 / 3) == pytest.approx(16.0, rel=0.06)


@pytest.mark.parametrize(
    ("place_mm", "low", "high"),
    [
        ((-80.0, 20.0, 0.0), -930, -780),  # lung
        ((-70.0, -10.0, -110.0), 60, 160),  # liver
        ((0.0, 38.0, 11.5), 120, 420),  # vertebral body
        ((31.0, 36.0, 12.0), 180, 290),  # descending aorta with contrast
        ((-1.0, 4.0, 100.0), -1024, -880),  # trachea
        ((0.0, -150.0, 0.0), -1024, -980),  # air before the chest
    ],
)
def test_tissues_have_their_hounsfield_units(
    phantom: Phantom, place_mm: tuple[float, float, float], low: int, high: int
) -> None:
    index = [
        round((value - start) / step)
        for value, start, step in zip(place_mm[::-1], phantom.origin_mm[::-1], phantom.spacing_mm, strict=True)
    ]
    around = phantom.volume_hu[tuple(slice(i - 1, i + 2) for i in index)]
    assert low <= around.mean() <= high


def test_every_kind_and_attachment_can_be_placed_on_the_side_asked_for() -> None:
    nodule_specs = tuple(
        NoduleSpec(kind, 9.0, attachment, side=side)
        for kind, attachment, side in zip(NoduleKind, [*Attachment, *Attachment], ["left", "right"] * 3, strict=True)
    )
    phantom = make_phantom(replace(SMALL, nodules=nodule_specs, vessels=False))
    assert [nodule.kind for nodule in phantom.nodules] == list(NoduleKind)
    assert [nodule.position_mm[0] > 0 for nodule in phantom.nodules] == [True, False] * 3


def test_a_nodule_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(NoSpaceForNoduleError, match="no position"):
        make_phantom(replace(SMALL, slices=4, vessels=False, nodules=(NoduleSpec(NoduleKind.SOLID, 60.0),)))


@pytest.mark.parametrize("wrong", [{"slices": 0}, {"pixel_spacing_mm": 0.0}, {"kernel": "bone"}])
def test_sizes_that_make_no_series_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"phantom|kernel"):
        PhantomSpec(**wrong)  # type: ignore[arg-type]


def test_the_series_says_that_it_is_generated(phantom: Phantom, tmp_path: Path) -> None:
    ds = pydicom.dcmread(write_series(phantom, tmp_path)[0], stop_before_pixels=True)
    assert ds.SeriesDescription == SERIES_DESCRIPTION == "GENERATED PHANTOM NOT A PATIENT"
    assert str(ds.PatientName) == "PHANTOM^LUNGNODE"


@pytest.mark.parametrize("transfer_syntax", sorted(TRANSFER_SYNTAXES))
def test_every_transfer_syntax_holds_the_same_pixels(phantom: Phantom, tmp_path: Path, transfer_syntax: str) -> None:
    few = replace(phantom, volume_hu=phantom.volume_hu[38:41])
    paths = write_series(few, tmp_path, transfer_syntax=transfer_syntax)
    for path, expected in zip(paths, few.volume_hu, strict=True):
        ds = pydicom.dcmread(path)
        assert ds.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[transfer_syntax]
        assert np.array_equal(ds.pixel_array.astype(int) - 1024, expected)


def test_an_enhanced_instance_holds_every_frame_and_its_place(phantom: Phantom, tmp_path: Path) -> None:
    path = write_enhanced(phantom, tmp_path)
    ds = pydicom.dcmread(path)
    assert np.array_equal(ds.pixel_array.astype(int) - 1024, phantom.volume_hu)
    heights = [
        float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in ds.PerFrameFunctionalGroupsSequence
    ]
    assert np.allclose(np.diff(heights), phantom.spacing_mm[0])


def test_identities_keep_series_apart_and_uids_are_derived(phantom: Phantom, tmp_path: Path) -> None:
    few = replace(phantom, volume_hu=phantom.volume_hu[:2])
    one, same, other = (
        pydicom.dcmread(write_series(few, tmp_path / name, identity)[0], stop_before_pixels=True)
        for name, identity in (
            ("a", SeriesIdentity()),
            ("b", SeriesIdentity()),
            ("c", SeriesIdentity(patient_id="PHANTOM-2")),
        )
    )
    assert one.SOPInstanceUID == same.SOPInstanceUID
    assert len({one.StudyInstanceUID, other.StudyInstanceUID}) == 2
    assert one.StudyInstanceUID.is_valid


@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_finds_no_error(phantom: Phantom, tmp_path: Path, enhanced: bool) -> None:
    tool = shutil.which("dciodvfy") or str(Path(__import__("sys").executable).with_name("dciodvfy"))
    if not Path(tool).exists():
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    few = replace(phantom, volume_hu=phantom.volume_hu[:3])
    path = write_enhanced(few, tmp_path) if enhanced else write_series(few, tmp_path)[0]
    checked = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    assert [line for line in checked.stderr.splitlines() if line.startswith("Error")] == []
