"""One series in, one outcome out: findings in the words of the records, or reasons."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.series.assembly import load_series
from dicom_node.series.pipeline import Progress, analyse_point, analyse_series, to_new_finding
from dicom_node.series.types import StoredInstance
from inference.gate import GateThresholds
from inference.nodules.mask import encode_mask
from inference.types import Abstention, CtVolume, NoduleAxes, NoduleFinding, VolumeAnalysis
from tests.support.factories import CtSeries, Defects, SimpleNodule, ct_series

NODULE = SimpleNodule((12.0, 30.0, 22.0), 9.0)


@dataclass
class BrightestPlace:
    """Points at the centre of everything denser than soft tissue; enough to follow a place through the pipeline."""

    abstention: Abstention | None = None
    name: str = "brightest"
    version: str = "1"
    sha256: str = "0" * 64
    gate: GateThresholds = field(default_factory=GateThresholds)
    volumes: list[CtVolume] = field(default_factory=list)

    def analyse(
        self, volume: CtVolume, *, progress: Progress | None = None, overruled: Collection[str] = ()
    ) -> VolumeAnalysis:
        self.volumes.append(volume)
        if progress is not None:
            progress(1.0, "done")
        if self.abstention is not None:
            return VolumeAnalysis((), (self.abstention,))
        index = np.argwhere(volume.volume_hu > 1000).mean(axis=0)
        return VolumeAnalysis((self._finding((float(index[0]), float(index[1]), float(index[2]))),), measures={"n": 1})

    def analyse_point(self, volume: CtVolume, index: tuple[float, float, float]) -> NoduleFinding:
        return self._finding(index)

    def _finding(self, index: tuple[float, float, float]) -> NoduleFinding:
        return NoduleFinding(index, 9.0, 0.9, 0.7, (0.5, 0.8), ("malignant",), attributes={"density": "solid"})


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> CtSeries:
    nodule = SimpleNodule(NODULE.index, NODULE.diameter_mm, hu=1500.0)
    flat = np.full((24, 48, 48), -800, np.int16)
    folder = tmp_path_factory.mktemp("series")
    return ct_series(folder, volume_hu=flat, spacing_mm=(2.5, 0.7, 0.7), nodules=(nodule,), shuffle=True)


def stored(series: CtSeries) -> list[StoredInstance]:
    return [StoredInstance("", path) for path in reversed(series.paths)]


def test_a_finding_names_its_nearest_slice_and_its_place_in_the_patient(series: CtSeries) -> None:
    outcome = analyse_series(stored(series), BrightestPlace())
    assert outcome.is_analysed
    (finding,) = outcome.findings
    assert finding.sop_instance_uid == series.sop_instance_uids[12]
    assert (finding.row, finding.column) == pytest.approx((30, 22), abs=0.1)
    assert finding.position_mm == pytest.approx(series.position_mm(NODULE.index), abs=0.1)
    assert finding.frame_number == 1
    assert finding.interval == (0.5, 0.8)
    frame_of_reference_uid = dcmread(series.paths[0], stop_before_pixels=True).FrameOfReferenceUID
    assert finding.attributes == {"density": "solid", "frame_of_reference_uid": frame_of_reference_uid}


@pytest.mark.parametrize(
    "defects", [Defects(missing=("FrameOfReferenceUID",)), Defects(attributes={"FrameOfReferenceUID": ""})]
)
def test_a_finding_without_a_frame_of_reference_states_none(tmp_path: Path, defects: Defects) -> None:
    volume_hu = np.full((24, 48, 48), -800, np.int16)
    volume_hu[12, 30, 22] = 1500
    series = ct_series(tmp_path, volume_hu=volume_hu, spacing_mm=(2.5, 0.7, 0.7), defects=defects)
    (finding,) = analyse_series(stored(series), BrightestPlace()).findings
    assert finding.attributes == {"density": "solid"}


def test_a_mask_names_the_slices_that_it_lies_on(series: CtSeries) -> None:
    loaded = load_series(stored(series), None, GateThresholds())
    mask = np.zeros((4, 3, 5), bool)
    mask[:, 1:, 2] = True
    box = (slice(10, 14), slice(28, 31), slice(20, 25))
    axes = NoduleAxes(12, ((28.987, 22.0), (30.0, 22.004)), ((29.5, 21.5), (29.5, 22.5)))
    measured = NoduleFinding(NODULE.index, 9.0, 0.9, 0.7, (0.5, 0.8), mask=encode_mask(mask, box, axes))
    recorded = to_new_finding(measured, loaded).mask
    assert recorded is not None
    assert [one.sop_instance_uid for one in recorded.slices] == list(series.sop_instance_uids[10:14])
    assert (recorded.row, recorded.column, recorded.shape, recorded.runs) == (29, 22, (4, 2, 1), (0, 8))
    assert recorded.axes is not None
    assert (recorded.axes.slice_index, recorded.axes.long) == (2, ((28.99, 22.0), (30.0, 22.0)))


@pytest.mark.parametrize(
    ("stated", "thickness_mm"), [("1.25", 1.25), ("3", 3.0), ("", None), ("0", None), ("-2", None)]
)
def test_the_slice_thickness_is_that_of_the_headers(tmp_path: Path, stated: str, thickness_mm: float | None) -> None:
    def state(ds: Dataset, _index: int) -> None:
        ds["SliceThickness"] = DataElement("SliceThickness", "DS", stated, validation_mode=config.IGNORE)

    one = ct_series(tmp_path, n=24, rows=48, spacing_mm=(2.5, 0.7, 0.7), defects=Defects(alter=state))
    assert load_series(stored(one), None, GateThresholds()).volume.slice_thickness_mm == thickness_mm


def test_the_outcome_measures_the_work_without_an_identity(series: CtSeries) -> None:
    measures = analyse_series(stored(series), BrightestPlace()).measures
    assert measures["slice_count"] == 24
    assert measures["n"] == 1
    assert {"duration_s", "load_s", "spacing_mm", "acquisition"} <= set(measures)
    assert "TEST" not in str(measures)


def test_a_refusal_is_an_outcome_and_no_model_is_asked(tmp_path: Path) -> None:
    series = ct_series(tmp_path, n=20, rows=16, spacing_mm=(2.5, 0.7, 0.7), defects=Defects(drop=(7,)))
    analyzer = BrightestPlace()
    outcome = analyse_series(stored(series), analyzer)
    assert [reason.code for reason in outcome.reasons] == ["gaps"]
    assert analyzer.volumes == []


def test_an_abstention_of_the_models_is_an_outcome(series: CtSeries) -> None:
    outcome = analyse_series(stored(series), BrightestPlace(Abstention("no_lung", "No lung is in view.")))
    assert [(reason.code, reason.text) for reason in outcome.reasons] == [("no_lung", "No lung is in view.")]
    assert outcome.findings == ()


@pytest.mark.parametrize(
    ("code", "wrong"),
    [("derived", {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}), ("lossy", {"LossyImageCompression": "01"})],
)
def test_an_overruled_refusal_is_analysed_with_the_doubt_stated(
    tmp_path: Path, code: str, wrong: dict[str, object]
) -> None:
    series = ct_series(tmp_path, n=20, rows=48, spacing_mm=(2.5, 0.7, 0.7), defects=Defects(attributes=wrong))
    analyzer = BrightestPlace(Abstention("no_lung", "No lung is in view."))
    assert [reason.code for reason in analyse_series(stored(series), analyzer).reasons] == [code]
    outcome = analyse_series(stored(series), analyzer, overruled=frozenset({code}))
    assert len(analyzer.volumes) == 1
    assert f"overruled_{code}" in [caveat.code for caveat in outcome.caveats]


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("missing_rescale", {"RescaleSlope": None}),
        ("invalid_rescale", {"RescaleSlope": "0"}),
        ("not_hounsfield", {"RescaleType": "OD"}),
        ("localizer", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("burned_in", {"BurnedInAnnotation": "YES"}),
        ("not_axial", {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}),
    ],
)
def test_an_overruled_series_passes_every_other_gate(tmp_path: Path, code: str, wrong: dict[str, object]) -> None:
    lossy = {"LossyImageCompression": "01"} | wrong
    series = ct_series(tmp_path, n=20, rows=48, spacing_mm=(2.5, 0.7, 0.7), defects=Defects(attributes=lossy))
    everything = frozenset({"derived", "lossy", "kernel", code})
    outcome = analyse_series(stored(series), BrightestPlace(), overruled=everything)
    assert not outcome.is_analysed
    assert outcome.reasons[0].code != "lossy"


def test_progress_is_reported(series: CtSeries) -> None:
    calls: list[tuple[float, str]] = []
    analyse_series(stored(series), BrightestPlace(), progress=lambda share, stage: calls.append((share, stage)))
    assert calls == [(1.0, "done")]


def test_a_readers_click_is_analysed_where_it_points(series: CtSeries) -> None:
    loaded = load_series(stored(series))
    uid = series.sop_instance_uids[5]
    finding = analyse_point(loaded, BrightestPlace(), sop_instance_uid=uid, frame_number=1, point=(8.0, 9.0))
    assert finding.sop_instance_uid == uid
    assert finding.position_mm == pytest.approx(series.position_mm((5, 8, 9)), abs=1e-3)


@pytest.mark.parametrize(
    ("uid", "frame", "point", "code"),
    [
        ("1.2.3", 1, (1.0, 1.0), "no_such_frame"),
        ("", 2, (1.0, 1.0), "no_such_frame"),
        ("", 1, (-3.0, 1.0), "outside_image"),
    ],
)
def test_a_click_outside_is_refused(
    series: CtSeries, uid: str, frame: int, point: tuple[float, float], code: str
) -> None:
    loaded = load_series(stored(series))
    uid = uid or series.sop_instance_uids[5]
    with pytest.raises(UnfitImagesError) as refused:
        analyse_point(loaded, BrightestPlace(), sop_instance_uid=uid, frame_number=frame, point=point)
    assert refused.value.reason.code == code
