"""Engines: all give equal answers, and only permitted ones are chosen."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inference import loading
from inference.bundle import SHIPPED, Bundle, describe_bundle, read_bundle
from inference.devices import resolve_device
from inference.engines import selection
from inference.engines.selection import Engine, answering_digest, choose_engine, why_unusable
from inference.errors import BundleError
from inference.malignancy.ensemble import Ensemble, network_margins, view_parts, view_tensors
from inference.types import CtVolume
from inference.volumes.patch_views import ViewSpec
from inference.volumes.patches import Patch, cut_patch, sample_view
from inference.volumes.preprocessing import PreprocessingSpec
from lungnode.settings.analysis import ModelSettings
from tests.support.factories import SimpleNodule, add_ball, simple_chest
from training.engines import figures_of, quantise

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra openvino")
needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="needs NNCF (extra training)")


def on_this_machine(engine: Engine, *values: object) -> Any:
    """Parameters of a test that is skipped, with the reason, where the engine cannot run."""
    reason = why_unusable(engine, CPU.type)
    return pytest.param(engine, *values, marks=pytest.mark.skipif(reason is not None, reason=reason or ""))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped nodule networks, in a folder of their own."""
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copytree(SHIPPED / "nodule", folder, dirs_exist_ok=True)
    return read_bundle(folder)


@pytest.fixture(scope="module")
def patches() -> list[Patch]:
    """Noise, and nodules of several sizes in a simple chest."""
    spacing_mm = (2.0, 0.8, 0.8)
    hu = simple_chest(40, 200, 240, spacing_mm)
    centres = [(20.0, 100.0, 70.0), (14.0, 90.0, 170.0), (25.0, 110.0, 160.0)]
    for centre, diameter_mm in zip(centres, (6.0, 11.0, 18.0), strict=True):
        hu = add_ball(hu, spacing_mm, SimpleNodule(index=centre, diameter_mm=diameter_mm))
    chest = CtVolume(hu, spacing_mm, np.eye(4))
    noise = np.random.default_rng(0).integers(-1000, 200, (40, 200, 240)).astype(np.int16)
    return [cut_patch(v, centre) for v in (chest, replace(chest, volume_hu=noise)) for centre in centres]


def changes(bundle: Bundle, engine: Engine, patches: list[Patch]) -> NDArray[np.float64]:
    """Deviation of margins from float32's, as a share of their range over the patches, ``(members, n)``."""
    expected, margins = (
        Ensemble(bundle, CPU, engine=e, rotations=1).margins(patches) for e in (Engine.TORCH_FLOAT32, engine)
    )
    shares: NDArray[np.float64] = np.abs(margins - expected) / np.ptp(expected, axis=1, keepdims=True)
    return shares


def with_record(bundle: Bundle, **measured: Any) -> Bundle:
    """The bundle with a record of what ``training.engines`` would have measured."""
    record = {"measured": {name.replace("_", "-"): figures for name, figures in measured.items()}}
    return replace(bundle, recipe={**bundle.recipe, "engines": record})


def moved(auc: float = 0.0, p: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"auc_change": auc, "ece_change": 0.01, "largest_change": p, **more}


@pytest.mark.parametrize(
    ("engine", "tolerance"),
    [
        on_this_machine(Engine.OPENVINO_FLOAT32, 0.0005),
        on_this_machine(Engine.OPENVINO_BFLOAT16, 0.02),
        on_this_machine(Engine.TORCH_BFLOAT16, 0.02),
    ],
)
def test_engines_answer_like_float32(bundle: Bundle, patches: list[Patch], engine: Engine, tolerance: float) -> None:
    """On nodules and on noise, within a share of the range that the margins have there."""
    assert changes(bundle, engine, patches).max() < tolerance


@pytest.mark.parametrize("rotations", [1, 2, 8])
@pytest.mark.parametrize("volumetric", [False, True], ids=["planar", "volumetric"])
def test_arrays_are_prepared_like_tensors_to_the_bit(patches: list[Patch], volumetric: bool, rotations: int) -> None:
    """OpenVINO's networks are given arrays, so that torch need not be imported; torch's own are given tensors."""
    view = ViewSpec((PreprocessingSpec(size=24), PreprocessingSpec(size=24, window_center=40.0)), volumetric=volumetric)
    inputs: list[NDArray[np.float32]] = []

    def run(given: Any) -> NDArray[np.float32]:
        inputs.append(np.asarray(given))
        return np.zeros((len(given), 2), dtype=np.float32)

    samples = [sample_view(patch, shape=view.shape, field_mm=view.field_mm) for patch in patches]
    for parts in (view_parts(view, samples, 4), view_tensors(view, samples, 4, CPU)):
        network_margins(run, parts, rotations=rotations, batch_size=100)
    half = len(inputs) // 2
    assert half == 2
    for array, tensor in zip(inputs[:half], inputs[half:], strict=True):
        assert array.dtype == tensor.dtype == np.float32
        assert np.array_equal(array, tensor)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_mean_of_the_turns_is_rounded_alike_however_many_are_asked_together(count: int) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (8, 8, 2)).astype(np.float32)  # (turns, n, classes)
    inputs = np.zeros((count, 1, 4, 4), dtype=np.float32)
    together = network_margins(lambda _: logits[:, :count].reshape(-1, 2), [inputs], rotations=8, batch_size=64)
    single = network_margins(lambda _: logits[:, 0], [inputs[:1]], rotations=8, batch_size=64)
    assert together[0] == single[0]
    assert together == pytest.approx((logits[:, :count, 1] - logits[:, :count, 0]).mean(axis=0), abs=1e-5)


def test_a_described_bundle_reads_its_weights_when_a_network_is_needed(bundle: Bundle, patches: list[Patch]) -> None:
    described = describe_bundle(bundle.folder)
    assert described.weights == {}
    loaded, lazy = (Ensemble(b, CPU, engine=Engine.TORCH_FLOAT32, rotations=1) for b in (bundle, described))
    assert np.array_equal(loaded.margins(patches[:1]), lazy.margins(patches[:1]))


def test_weights_that_were_replaced_meanwhile_are_refused(bundle: Bundle) -> None:
    described = describe_bundle(bundle.folder)
    other = replace(described, recipe={**described.recipe, "weights_sha256": "0" * 64})
    with pytest.raises(BundleError, match="was replaced"):
        other.members(CPU)


@needs_openvino
def test_one_compiled_network_takes_any_number_of_pictures_from_any_thread(
    bundle: Bundle, patches: list[Patch]
) -> None:
    ensemble = Ensemble(bundle, CPU, engine=Engine.OPENVINO_FLOAT32, rotations=1)
    together = ensemble.margins(patches)
    with ThreadPoolExecutor(4) as threads:
        one_by_one = np.hstack(list(threads.map(lambda patch: ensemble.margins([patch]), patches)))
    assert one_by_one == pytest.approx(together, abs=1e-4)


@needs_openvino
def test_openvino_s_telemetry_cannot_be_loaded() -> None:
    import inference.engines.openvino  # noqa: F401

    with pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401


def test_the_size_of_batches_changes_no_answer(bundle: Bundle, patches: list[Patch]) -> None:
    one, many = (
        Ensemble(bundle, CPU, engine=Engine.TORCH_FLOAT32, batch_size=n, rotations=2).margins(patches) for n in (1, 32)
    )
    assert one == pytest.approx(many, abs=1e-4)


def test_every_turn_counts_in_the_mean(patches: list[Patch]) -> None:
    shapes = []

    def run(inputs: torch.Tensor) -> NDArray[np.float32]:
        shapes.append(inputs)
        return torch.stack([torch.zeros(len(inputs)), inputs[:, 0, 0, 0]], dim=1).numpy()

    inputs = ViewSpec((PreprocessingSpec(),)).inputs(patches[:2])
    margins = network_margins(run, [inputs], rotations=8)
    corners = inputs[:, 0][:, [0, 0, -1, -1], [0, -1, 0, -1]]  # a corner lies in each corner twice
    assert margins == pytest.approx(corners.mean(dim=1), abs=1e-6)
    assert len(torch.cat(shapes)) == 16


@needs_openvino
@needs_nncf
def test_int8_answers_nearly_like_float32_and_is_known_by_its_own_digest(bundle: Bundle, patches: list[Patch]) -> None:
    files = quantise(bundle, patches, seed=0)
    prefixes = [member["prefix"] for member in bundle.recipe["members"]]
    assert set(files) == {f"int8/{prefix}.{ending}" for prefix in prefixes for ending in ("xml", "bin")}
    checked = with_record(bundle, openvino_int8=moved(files=files))
    assert choose_engine("auto", checked, "cpu") is Engine.OPENVINO_INT8
    assert changes(checked, Engine.OPENVINO_INT8, patches).max() < 0.2
    assert Ensemble(checked, CPU, engine=Engine.OPENVINO_INT8).sha256 != bundle.sha256
    assert checked.sha256 == bundle.sha256  # a record by itself changes no answer
    weights = bundle.folder / "int8" / f"{prefixes[0]}.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(BundleError, match=f"int8/{prefixes[0]}"):
        Ensemble(checked, CPU, engine=Engine.OPENVINO_INT8)


def test_the_digest_of_int8_hangs_on_its_files_alone(bundle: Bundle) -> None:
    one, two = (with_record(bundle, openvino_int8=moved(files={"int8/a.bin": digest})) for digest in ("1", "2"))
    assert answering_digest(Engine.OPENVINO_INT8, one) != answering_digest(Engine.OPENVINO_INT8, two)
    assert answering_digest(Engine.OPENVINO_BFLOAT16, one) == bundle.sha256


INT8 = {"int8/a.bin": "1"}


@pytest.mark.parametrize(
    ("measured", "installed", "bfloat16", "expected"),
    [
        ({}, True, True, Engine.TORCH_BFLOAT16),
        ({}, True, False, Engine.TORCH_FLOAT32),
        ({"openvino_int8": moved(files=INT8)}, True, True, Engine.OPENVINO_INT8),
        ({"openvino_int8": moved(files=INT8)}, False, True, Engine.TORCH_BFLOAT16),
        ({"openvino_int8": moved(auc=-0.003, files=INT8), "openvino_bfloat16": moved()}, True, True,
         Engine.OPENVINO_BFLOAT16),
        ({"openvino_int8": moved(p=0.021), "openvino_bfloat16": moved(p=0.019)}, True, True,
         Engine.OPENVINO_BFLOAT16),
        ({"openvino_int8": moved(), "openvino_float32": moved()}, True, False, Engine.OPENVINO_FLOAT32),
        ({"openvino_bfloat16": moved(auc=0.01), "torch_bfloat16": moved()}, True, True, Engine.TORCH_BFLOAT16),
        ({"openvino_bfloat16": moved(auc=0.01), "torch_bfloat16": moved(p=0.03)}, True, True,
         Engine.TORCH_FLOAT32),
    ],
)  # fmt: skip
def test_the_fastest_engine_that_may_answer_is_taken(
    bundle: Bundle, measured: dict[str, Any], installed: bool, bfloat16: bool, expected: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(selection, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(selection, "counts_in_bfloat16", lambda device: bfloat16)
    assert choose_engine("auto", with_record(bundle, **measured), "cpu") is expected


def test_on_cuda_torch_answers_whatever_is_installed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "counts_in_bfloat16", lambda device: True)
    checked = with_record(bundle, openvino_int8=moved(files=INT8), openvino_bfloat16=moved())
    assert choose_engine("auto", checked, "cuda") is Engine.TORCH_BFLOAT16


@pytest.mark.parametrize(
    ("setting", "installed", "said"),
    [
        ("openvino-bfloat16", False, "needs a CPU and the extra openvino"),
        ("openvino-int8", True, "holds no checked int8 networks"),
        ("torch-bfloat16", True, "moved by more than 0.002"),
    ],
)
def test_an_engine_asked_for_in_vain_is_an_error_that_says_why(
    bundle: Bundle, setting: str, installed: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr(selection, "counts_in_bfloat16", lambda device: True)
    with pytest.raises(BundleError, match=f"LUNGNODE_MODEL__ENGINE is {setting}, but .*{said}"):
        choose_engine(setting, with_record(bundle, torch_bfloat16=moved(p=0.03)), "cpu")


def test_the_setting_names_every_engine_and_auto() -> None:
    names = get_args(ModelSettings.model_fields["engine"].annotation)
    assert set(names) == {"auto", *Engine}


def test_models_are_loaded_with_the_engine_asked_for_and_say_so() -> None:
    models = loading.load_models(None, "cpu", "torch-float32")
    assert {status.engine for status in models.description.statuses} == {"torch-float32"}


def test_of_several_gpus_the_emptiest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10, 30, 20]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (free[number], 40))
    assert resolve_device("auto") == torch.device("cuda", 1)
    assert resolve_device("cpu") == CPU


def test_figures_are_held_against_the_reference() -> None:
    labels = np.array([False, True, False, True])
    reference = np.array([0.1, 0.9, 0.2, 0.8])
    assert figures_of(labels, reference, reference) == {
        "auc": 1.0, "ece": pytest.approx(0.15), "auc_change": 0.0, "ece_change": 0.0, "largest_change": 0.0
    }  # fmt: skip
    worse = figures_of(labels, np.array([0.1, 0.15, 0.2, 0.8]), reference)
    assert worse["auc_change"] == -0.25
    assert worse["largest_change"] == pytest.approx(0.75)
