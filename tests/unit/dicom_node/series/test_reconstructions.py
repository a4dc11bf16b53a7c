"""Reconstructions are measured from files: acquisition, coverage, lung, noise, and the refusal to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from scipy.ndimage import gaussian_filter

from db.domain.reconstructions import Reconstruction, choose
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.series.reconstructions import measure_reconstructions
from dicom_node.series.types import StoredInstance
from inference.gate import GateThresholds
from tests.support.factories import CtSeries, Defects, ct_series, simple_chest

GATE = GateThresholds(pixel_mm=(0.3, 4.0), noise_hu=(3.0, 40.0), grain=(-0.4, 0.45), lung_hu=(-950.0, -700.0))
SHAPE = (40, 96, 96)
SPACING_MM = (6.0, 3.5, 3.5)
SCAN = {
    "FrameOfReferenceUID": "1.2.3.4",
    "AcquisitionNumber": 2,
    "AcquisitionDate": "20260105",
    "AcquisitionTime": "091500.5",
    "PatientPosition": "HFS",
}


def chest(n: int = 40, noise_hu: float = 12.0) -> NDArray[np.int16]:
    """The same chest of 240 mm in ``n`` slices."""
    return simple_chest(n, *SHAPE[1:], (240.0 / n, *SPACING_MM[1:]), noise_hu=noise_hu)


def written(folder: Path, number: int, volume_hu: NDArray[np.int16], **attributes: object) -> CtSeries:
    """A series of the scan; the middle of its stack is the origin."""
    spacing_mm = (240.0 / len(volume_hu), *SPACING_MM[1:])
    identity = SeriesIdentity(patient_id="P", series_number=number, uid_seed="reconstructions")
    defects = Defects(attributes={**SCAN, **attributes})
    return ct_series(
        folder / str(number), volume_hu=volume_hu, spacing_mm=spacing_mm, identity=identity, defects=defects
    )


def files(*series: CtSeries) -> dict[str, list[StoredInstance]]:
    return {
        each.folder.name: [
            StoredInstance(uid, path) for uid, path in zip(each.sop_instance_uids, each.paths, strict=True)
        ]
        for each in series
    }


def measured(*series: CtSeries, gate: GateThresholds = GATE) -> Mapping[str, Reconstruction]:
    return measure_reconstructions(files(*series), [], gate, DecodeLimits())


def test_acquisition_and_images_are_measured(tmp_path: Path) -> None:
    results = measured(
        written(tmp_path, 1, chest(40)),
        written(tmp_path, 2, chest(80)),
        written(tmp_path, 3, chest(60)),
        written(tmp_path, 4, chest(80, noise_hu=60.0)),
    )
    second, third = results["2"], results["3"]
    assert second.acquisition_times_s == (33300.5, 33300.5)
    assert (second.acquisition_dates, second.acquisition_numbers) == (("20260105",), ("2",))
    assert second.coverage_mm == (-118.5, 118.5)
    assert (second.slice_mm, second.refusal) == (3.0, "")
    truth_ml = np.count_nonzero(chest(80, 0.0) == -860) * 3.0 * 3.5**2 / 1000
    assert second.lung_ml == pytest.approx(truth_ml, rel=0.03)
    assert third.lung_ml == pytest.approx(second.lung_ml, rel=0.05)
    assert second.noise_hu == pytest.approx(12.0 * 1.25**0.5, rel=0.1)  # of a pixel against the mean of four
    assert second.unvalidated == ()
    assert results["4"].unvalidated == ("noise_hu",)
    assert results["1"].refusal == "coarse_slices"
    assert choose(results) == dict.fromkeys(results, "2")


def test_a_smooth_kernel_outside_the_validated_range_is_recognised(tmp_path: Path) -> None:
    smooth_hu = np.round(gaussian_filter(chest(80, 40.0).astype(float), (0, 3.0, 3.0))).astype(np.int16)
    results = measured(written(tmp_path, 1, smooth_hu), written(tmp_path, 2, chest(60)))
    assert results["1"].unvalidated == ("grain",)
    assert choose(results) == {"1": "2", "2": "2"}


def test_a_truncated_stack_covers_less_lung(tmp_path: Path) -> None:
    upper = written(tmp_path, 1, chest(160))
    truncated = files(upper)["1"][80:]
    results = measure_reconstructions(
        {"1": truncated, **files(written(tmp_path, 2, chest(60)))}, [], GATE, DecodeLimits()
    )
    assert (results["1"].lung_ml or 0.0) < 0.6 * (results["2"].lung_ml or 0.0)
    assert choose(results) == {"1": "2", "2": "2"}


@pytest.mark.parametrize(
    ("attributes", "refusal"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"Modality": "MR"}, "not_ct"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "derived"),
        ({"LossyImageCompression": "01"}, "lossy"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not_axial"),
    ],
)
def test_what_headers_refuse_is_compared_with_nothing(
    tmp_path: Path, attributes: dict[str, object], refusal: str
) -> None:
    results = measured(written(tmp_path, 1, chest(60), **attributes), written(tmp_path, 2, chest(60)))
    assert results["1"] == Reconstruction(refusal=refusal)
    assert choose(results) == {"1": "1", "2": "2"}


def test_pixels_are_read_only_of_series_that_share_an_acquisition(tmp_path: Path) -> None:
    other = written(tmp_path, 2, chest(60), FrameOfReferenceUID="1.2.3.5")
    results = measured(written(tmp_path, 1, chest(60)), other)
    assert [each.lung_ml for each in results.values()] == [None, None]
    assert not any(each.is_measured for each in results.values())
    again = measure_reconstructions(files(other), [replace(results["2"], lung_ml=4000.0)], GATE, DecodeLimits())
    assert again["2"].is_measured


@pytest.mark.parametrize("time", ["", "09", "0915", "noon", "99:00", "250000", "-1"])
def test_a_time_that_is_none_is_not_compared(tmp_path: Path, time: str) -> None:
    def alter(ds: Dataset, _: int) -> None:
        raw = RawDataElement(Tag("AcquisitionTime"), "TM", len(time), time.encode(), 0, False, True)  # as others write
        ds._dict[raw.tag] = raw

    identity = SeriesIdentity(patient_id="P", series_number=1, uid_seed="times")
    defects = Defects(attributes=SCAN, alter=alter)
    spacing_mm = (4.0, *SPACING_MM[1:])
    odd = ct_series(tmp_path / "1", volume_hu=chest(60), spacing_mm=spacing_mm, identity=identity, defects=defects)
    expected = {"09": (32400.0, 32400.0), "0915": (33300.0, 33300.0)}.get(time)
    assert measured(odd)["1"].acquisition_times_s == expected


def test_damaged_files_are_compared_with_nothing(tmp_path: Path) -> None:
    damaged = written(tmp_path, 1, chest(60))
    damaged.paths[3].write_bytes(b"no DICOM")
    results = measured(damaged, written(tmp_path, 2, chest(60)))
    assert results["1"] == Reconstruction(refusal="unreadable_headers")
