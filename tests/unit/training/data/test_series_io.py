"""Training reads a series as serving does, voxel for voxel, and says why where it is no volume."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.series.assembly import load_series
from dicom_node.series.types import LoadedSeries, StoredInstance
from inference.nodules.measurement import measure_nodule
from inference.types import Abstention
from tests.support.factories import CtSeries, Defects, ct_series
from training.data.records import DataError
from training.data.series_io import read_series

SPACING_MM = (2.5, 0.7, 0.7)


def small_series(folder: Path, **options: Any) -> CtSeries:
    size: dict[str, Any] = {"n": 20, "rows": 32, "columns": 40, "spacing_mm": SPACING_MM}
    return ct_series(folder, **(size | options))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": True},
        {"transfer_syntax": "jpegll"},
        {"defects": Defects(attributes={"RescaleSlope": 2, "RescaleIntercept": -500})},
        {"defects": Defects(orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0))},
        {"defects": Defects(attributes={"PixelPaddingValue": 160, "PixelPaddingRangeLimit": 170})},
    ],
    ids=["plain", "shuffled", "compressed", "slope", "prone", "padding"],
)
def test_training_and_serving_read_the_same_volume(options: dict[str, Any], tmp_path: Path) -> None:
    series = small_series(tmp_path, **options)
    served = load_series([StoredInstance("", path) for path in series.paths])
    assert isinstance(served, LoadedSeries), served
    scan = read_series(tmp_path)
    np.testing.assert_array_equal(scan.volume.volume_hu, served.volume.volume_hu)
    np.testing.assert_allclose(scan.volume.affine, served.volume.affine, atol=1e-9)
    assert scan.volume.spacing_mm == pytest.approx(served.volume.spacing_mm)
    assert scan.slice_index(series.sop_instance_uids[3]) == [s.sop_instance_uid for s in served.geometry.slices].index(
        series.sop_instance_uids[3]
    )


def differ_in_spacing(ds: Any, index: int) -> None:
    ds.PixelSpacing = [0.7, 0.7 if index % 2 else 0.9]


UNFIT = [
    ("a gap", Defects(drop=(7, 8)), "slices are missing"),
    ("a repeated position", Defects(repeat=(4,)), "several images lie at the same position"),
    ("a tilted gantry", Defects(gantry_tilt_deg=12.0), "tilted gantry"),
    ("sagittal slices", Defects(orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0)), "not axial"),
    ("no positions", Defects(missing=("ImagePositionPatient",)), "lack ImagePositionPatient"),
    ("no pixel spacing", Defects(missing=("PixelSpacing",)), "lack PixelSpacing"),
    ("no rescale", Defects(missing=("RescaleSlope",)), "lack Rescale Slope"),
    ("unlike pixels", Defects(alter=differ_in_spacing), "differ in pixel spacing"),
]


@pytest.mark.parametrize(("what", "defects", "message"), UNFIT, ids=[row[0] for row in UNFIT])
def test_a_series_that_is_no_volume_is_refused_in_words(
    what: str, defects: Defects, message: str, tmp_path: Path
) -> None:
    small_series(tmp_path, defects=defects)
    with pytest.raises(DataError, match=message):
        read_series(tmp_path)


def test_two_series_in_one_folder_are_distinguished_by_name(tmp_path: Path) -> None:
    both = [small_series(tmp_path / name, identity=SeriesIdentity("A^B", name)) for name in ("one", "two")]
    with pytest.raises(DataError, match="several series"):
        read_series(tmp_path)
    scan = read_series(tmp_path, series_instance_uid=both[1].series_instance_uid)
    assert scan.sop_instance_uids == both[1].sop_instance_uids


def test_a_broken_file_is_not_passed_over(tmp_path: Path) -> None:
    series = small_series(tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    assert len(read_series(tmp_path).sop_instance_uids) == 20
    series.paths[3].write_bytes(series.paths[3].read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot be read|holds|lack|missing"):
        read_series(tmp_path)


@pytest.mark.data
def test_the_nodule_of_the_reference_series_is_where_its_readers_saw_it(research_data: Path) -> None:
    """Read only: LIDC-IDRI-0001 is never trained on."""
    scan = read_series(research_data / "lidc_idri_dicom" / "LIDC-IDRI-0001.tar.xz")
    assert scan.volume.volume_hu.shape == (133, 512, 512)
    assert scan.volume.spacing_mm == pytest.approx((2.5, 0.703125, 0.703125))
    slice_index = scan.slice_index("43")
    assert slice_index is not None
    _, _, z_mm = scan.volume.position_mm((slice_index, 364.5, 317.0))
    assert -125.0 <= z_mm <= -105.0
    measure = measure_nodule(scan.volume, (float(slice_index), 364.5, 317.0))
    assert not isinstance(measure, Abstention)
    assert 18 < measure.longest_mm < 40


def test_an_archive_reads_like_its_folder(tmp_path: Path) -> None:
    series = small_series(tmp_path / "series")
    archive = shutil.make_archive(str(tmp_path / "series"), "xztar", tmp_path / "series")
    np.testing.assert_array_equal(read_series(Path(archive)).volume.volume_hu, series.volume_hu)
