"""Answers of the web's predictor to uploads and clicks, with simple models in place of trained ones."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from db.database import Database
from db.domain.studies import PatientAttributes, ReceivedInstance
from db.engine import schema
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.storage.instance_store import InstanceStore
from inference.description import ModelsDescription
from inference.gate import GateThresholds
from inference.loading import Models
from inference.networks.explanation import MapKind
from inference.types import Abstention, ClassPrediction, CtVolume, ModelStatus, NoduleFinding
from lungnode.adapters.model_predictor import ModelPredictor
from lungnode.adapters.stored_series import StoredSeries
from lungnode.adapters.unavailable_predictor import UnavailablePredictor
from tests.support.factories import CtSeries, Defects, ct_series
from tests.support.records import record_instance
from webapp.http.errors import UnfitInputError
from webapp.ports import MarkedPoint


@dataclass
class Nodule:
    name: str = "nodule"
    version: str = "1"
    sha256: str = "a" * 64
    slice_temperature: float = 1.3
    gate: GateThresholds = field(default_factory=GateThresholds)

    def analyse_point(self, volume: CtVolume, index: tuple[float, float, float]) -> NoduleFinding:
        return NoduleFinding(index, 9.0, 0.9, 0.7, (0.5, 0.8), ("malignant",))

    def analyse_slice(
        self, hu: NDArray[np.int16], spacing_mm: tuple[float, float], point: tuple[float, float]
    ) -> NoduleFinding:
        return NoduleFinding((0.0, *point), 9.0, 0.9, 0.7, (0.5, 0.8), ("malignant",))

    def explanation(
        self, volume: CtVolume, index: tuple[float, float, float], kind: MapKind
    ) -> NDArray[np.float32] | None:
        weights = np.zeros(volume.volume_hu.shape[1:], np.float32)
        weights[round(index[1]), round(index[2])] = 1.0
        return weights if kind is MapKind.ATTENTION else None


@dataclass
class Slice:
    abstentions: tuple[Abstention, ...] = ()
    name: str = "slice"
    version: str = "1"
    sha256: str = "b" * 64
    temperature: float = 1.1

    def predict(self, image: NDArray[np.uint8], *, is_coloured: bool = False) -> ClassPrediction:
        probabilities = {"benign": 0.2, "malignant": 0.8}
        return ClassPrediction(probabilities, ("malignant",), (-1.0, 1.0), self.abstentions)

    def attention(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full(image.shape, 0.5, np.float32)


def status(task: str) -> ModelStatus:
    identity = (task, task, "1", "c" * 64)
    return ModelStatus(*identity, "", "cpu", "torch-float32", 1, (1,), ("benign",), 1.0, {}, "none", {}, {}, "", ())


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> CtSeries:
    return ct_series(tmp_path_factory.mktemp("series"), n=20, rows=48, spacing_mm=(2.5, 0.7, 0.7), shuffle=True)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, series: CtSeries) -> Iterator[StoredSeries]:
    folder = tmp_path_factory.mktemp("home")
    url = f"sqlite:///{folder / 'lungnode.db'}"
    schema.upgrade(url)
    database = Database(url, bytes(range(32)))
    with InstanceStore(folder / "store") as store:
        (store.root / "instances").mkdir(exist_ok=True)
        for path, uid in zip(series.paths, series.sop_instance_uids, strict=True):
            (store.root / "instances" / path.name).write_bytes(path.read_bytes())
            with database.begin() as session:
                record_instance(session, received(series, uid, f"instances/{path.name}"))
        stored = StoredSeries(database, store, DecodeLimits())
        yield stored
        stored.close()
    database.dispose()


def received(series: CtSeries, uid: str, path: str) -> ReceivedInstance:
    return ReceivedInstance(
        uid, "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", series.study_instance_uid, series.series_instance_uid,
        PatientAttributes("P1"), path, 1, uid[-60:].rjust(64, "0"),
    )  # fmt: skip


def description() -> ModelsDescription:
    """Describe the models above."""
    return ModelsDescription(Nodule.name, Nodule.version, Nodule.sha256, (status("nodule"), status("slice")), {})


@pytest.fixture(scope="module")
def predictor(stored: StoredSeries) -> Iterator[ModelPredictor]:
    models = Models(cast("Any", Nodule()), cast("Any", Slice()), description())
    predictor = ModelPredictor(models, stored, DecodeLimits())
    yield predictor
    predictor.close()


def picture() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((96, 96), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_a_picture_is_answered_by_the_slice_model(predictor: ModelPredictor) -> None:
    analysis = predictor.predict_upload(picture(), row=None, column=None)
    answer = analysis.answer
    assert (answer.kind, answer.predicted_class, answer.in_domain) == ("slice", "malignant", True)
    assert answer.model.name == "slice"
    assert analysis.image_png is not None
    assert analysis.attention_png is not None


def peak_mib() -> float:
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_a_large_picture_is_not_decoded_in_this_process(predictor: ModelPredictor, mode: str) -> None:
    stream = io.BytesIO()
    Image.new(mode, (4096, 4096)).save(stream, "PNG", compress_level=1)
    predictor.predict_upload(picture(), row=None, column=None)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before_mib = peak_mib()
    analysis = predictor.predict_upload(stream.getvalue(), row=None, column=None)
    assert peak_mib() - before_mib < 128, "a quarter of its pixels, and their attention"
    with Image.open(io.BytesIO(analysis.image_png or b"")) as shown:
        assert shown.size == (1024, 1024)


@pytest.mark.parametrize("content", [picture()[:-40], picture()[:60], b"\xff\xd8\xff" * 40])
def test_a_damaged_picture_is_refused(predictor: ModelPredictor, content: bytes) -> None:
    with pytest.raises(UnfitInputError) as refusal:
        predictor.predict_upload(content, row=None, column=None)
    assert (refusal.value.status, refusal.value.code) == (422, "unreadable_image")


def test_a_picture_outside_the_domain_has_its_raw_answer_apart(stored: StoredSeries) -> None:
    unlike = Slice((Abstention("unlike_training", "unlike"),))
    predictor = ModelPredictor(
        Models(cast("Any", Nodule()), cast("Any", unlike), description()), stored, DecodeLimits()
    )
    try:
        answer = predictor.predict_upload(picture(), row=None, column=None).answer
    finally:
        predictor.close()
    assert answer.predicted_class is None
    assert (answer.top_class, answer.probabilities) == ("malignant", {"benign": 0.2, "malignant": 0.8})
    assert (answer.prediction_set, answer.displayed) == ((), None)
    assert [reason.code for reason in answer.reasons] == ["unlike_training"]


def test_an_instance_with_a_place_is_answered_by_the_nodule_model(predictor: ModelPredictor, series: CtSeries) -> None:
    analysis = predictor.predict_upload(series.paths[9].read_bytes(), row=20.0, column=21.0)
    answer = analysis.answer
    assert (answer.kind, answer.predicted_class) == ("nodule", "malignant")
    assert answer.probabilities == pytest.approx({"benign": 0.3, "malignant": 0.7})
    assert answer.temperature == 1.3
    images = (analysis.image_png, analysis.attention_png)
    picture_, overlay = (np.asarray(Image.open(io.BytesIO(png or b""))) for png in images)
    assert picture_.shape == overlay.shape[:2]
    assert [int(index) for index in np.unravel_index(overlay[..., 3].argmax(), picture_.shape)] == [20, 21]


def test_an_instance_without_a_place_says_how_to_ask(predictor: ModelPredictor, series: CtSeries) -> None:
    answer = predictor.predict_upload(series.paths[9].read_bytes(), row=None, column=None).answer
    assert (answer.kind, answer.predicted_class, answer.in_domain) == ("dicom", None, False)
    assert [reason.code for reason in answer.reasons] == ["place_needed"]


def test_an_instance_that_is_no_ct_is_not_answered(predictor: ModelPredictor, tmp_path: Path) -> None:
    other = ct_series(tmp_path, n=2, rows=16, defects=Defects(attributes={"Modality": "MR"}))
    answer = predictor.predict_upload(other.paths[0].read_bytes(), row=1.0, column=1.0).answer
    assert [reason.code for reason in answer.reasons] == ["not_ct"]


def test_an_instance_is_drawn_pixel_by_pixel_in_the_lung_window(predictor: ModelPredictor, series: CtSeries) -> None:
    with Image.open(io.BytesIO(predictor.preview(series.paths[0].read_bytes()))) as drawn:
        grey = np.asarray(drawn)
    assert grey.shape == series.volume_hu.shape[1:]
    expected = np.clip((series.volume_hu[0].astype(float) + 1350) / 1500 * 255, 0, 255)
    assert np.abs(grey - expected).max() < 2


def test_what_is_no_ct_is_not_drawn(predictor: ModelPredictor) -> None:
    with pytest.raises(UnfitInputError) as refused:
        predictor.preview(bytes(128) + b"DICM" + bytes(200))
    assert refused.value.status == 422


def test_an_instance_with_more_pixels_than_any_ct_is_refused(predictor: ModelPredictor, tmp_path: Path) -> None:
    large = ct_series(tmp_path, volume_hu=np.zeros((1, 2048, 2049), np.int16), spacing_mm=(3.0, 0.7, 0.7))
    with pytest.raises(UnfitInputError) as refused:
        predictor.predict_upload(large.paths[0].read_bytes(), row=9, column=9)
    assert (refused.value.status, refused.value.code) == (413, "too_many_pixels")


def test_a_broken_instance_is_unfit(predictor: ModelPredictor) -> None:
    with pytest.raises(UnfitInputError) as refusal:
        predictor.predict_upload(bytes(128) + b"DICM" + bytes(300), row=None, column=None)
    assert refusal.value.status == 422


def test_a_place_outside_the_image_is_unfit(predictor: ModelPredictor, series: CtSeries) -> None:
    with pytest.raises(UnfitInputError) as refusal:
        predictor.predict_upload(series.paths[9].read_bytes(), row=900.0, column=1.0)
    assert refusal.value.code == "outside_image"


def test_a_click_is_answered_under_the_identity_of_the_analyses(predictor: ModelPredictor, series: CtSeries) -> None:
    point = MarkedPoint(series.series_instance_uid, series.sop_instance_uids[4], 10.0, 12.0)
    answer = predictor.analyse_point(series.study_instance_uid, point)
    assert answer.model.sha256 == predictor.status()["sha256"] == "a" * 64
    assert answer.finding.position_mm == pytest.approx(series.position_mm((4, 10, 12)), abs=1e-3)


@pytest.mark.parametrize(
    ("study", "changes", "expected"),
    [
        ("1.2.3", {}, 404),
        ("", {"series_instance_uid": "1.2.3"}, 404),
        ("", {"sop_instance_uid": "1.2.3"}, 404),
        ("", {"frame_number": 7}, 404),
        ("", {"row": 900.0}, 422),
    ],
)
def test_a_click_on_nothing_is_unfit(
    predictor: ModelPredictor, series: CtSeries, study: str, changes: dict[str, Any], expected: int
) -> None:
    point = replace(MarkedPoint(series.series_instance_uid, series.sop_instance_uids[4], 10.0, 12.0), **changes)
    with pytest.raises(UnfitInputError) as refusal:
        predictor.analyse_point(study or series.study_instance_uid, point)
    assert refusal.value.status == expected


def test_slices_are_listed_from_feet_to_head(stored: StoredSeries, series: CtSeries) -> None:
    listed = stored.slices(series.study_instance_uid, series.series_instance_uid)
    assert [reference.sop_instance_uid for reference in listed] == list(series.sop_instance_uids)
    assert listed[0].row_spacing_mm == pytest.approx(0.7)
    assert listed[0].orientation == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    assert stored.slices("1.2.3", series.series_instance_uid) == ()


def test_without_models_everything_says_so() -> None:
    predictor = UnavailablePredictor()
    assert not predictor.status().get("sha256")
    with pytest.raises(UnfitInputError) as refusal:
        predictor.predict_upload(b"", row=None, column=None)
    assert refusal.value.status == 503
