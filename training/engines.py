"""``python -m training.engines --data DIR --bundle DIR``: validate the inference engines for a bundle.

Quantises the networks to int8 (NNCF, post-training, on patches of the split ``val``), lets every engine that runs here
answer for a split that the networks have not seen, and writes into ``bundle.json`` how far AUC, expected calibration
error and probabilities moved from float32's. ``inference.engines.selection`` reads that at start. The int8 networks
stay in the bundle only where they may answer. Prints one JSON object last.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import SHIPPED, Bundle, read_bundle, write_recipe
from inference.engines.selection import (
    Engine,
    is_within_tolerance,
    why_unusable,
)
from inference.errors import BundleError
from inference.malignancy.ensemble import Ensemble, combine
from inference.malignancy.submodels import Variant, submodel_answers
from inference.metrics import auc, expected_calibration_error, plain
from inference.volumes.patch_views import ViewSpec, rotate
from inference.volumes.patches import Patch
from training.data.features import measured_features
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError, read_rows
from training.data.splits import LeakError
from training.fitting.cards import write_card
from training.fitting.tasks import read_filter_task, read_nodule_task

CALIBRATION_PATCHES = 128
REFERENCE = Engine.TORCH_FLOAT32

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Samples:
    """Labelled patches of one split, with measured features for nodules."""

    patches: list[Patch]
    labels: NDArray[np.bool_]
    features: Array | None


def read_samples(task: str, data: Path, split: str) -> Samples:
    """Return the samples for validating a bundle of this task.

    Raises
    ------
    DataError
        There is nothing labelled in the split.
    """
    if task not in {"nodule", "filter"}:
        raise DataError(f"a {task} bundle has one engine only: float32 in torch")
    read = read_nodule_task(data) if task == "nodule" else read_filter_task(data, splits=(split,))
    chosen = read.labelled & (read.splits == split)
    if not chosen.any():
        raise DataError(f"no labelled sample of the split {split!r}")
    features = None
    if task == "nodule":
        features = measured_features(data, [row for row, c in zip(read_rows(data), chosen, strict=True) if c])
    return Samples([p for p, c in zip(read.patches, chosen, strict=True) if c], read.labels[chosen], features)


def quantised(model: Any, inputs: list[NDArray[np.float32]]) -> Any:
    """Return the OpenVINO model in int8, with ranges from ``inputs``; progress goes to standard error."""
    import inference.engines.openvino  # noqa: F401 - before nncf: it keeps telemetry out

    import nncf  # isort: skip

    nncf.set_log_level("ERROR")
    with contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize(model, nncf.Dataset(inputs), subset_size=len(inputs))


def quantise(bundle: Bundle, patches: list[Patch], *, seed: int) -> dict[str, str]:
    """Write the int8 networks into ``int8`` of the bundle, and return the digest of each file."""
    from inference.engines.openvino import converted, write_network

    rng = np.random.default_rng(seed)
    chosen = [patches[i] for i in rng.permutation(len(patches))[:CALIBRATION_PATCHES]]
    files = {}
    for member, network in bundle.members(torch.device("cpu")):
        view = ViewSpec.from_json(member["view"])
        inputs = [rotate(view.inputs([p]), int(rng.integers(8))).contiguous().numpy() for p in chosen]
        graph = bundle.folder / "int8" / f"{member['prefix']}.xml"
        write_network(quantised(converted(network, view.input_shape), inputs), graph)
        for path in (graph, graph.with_suffix(".bin")):
            files[f"int8/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return files


def probabilities_of(bundle: Bundle, engine: Engine, samples: Samples) -> dict[str, Array]:
    """Return the bundle's probabilities by this engine on the CPU for each variant, the ensemble first."""
    margins = Ensemble(bundle, torch.device("cpu"), engine=engine).margins(samples.patches)
    submodels = submodel_answers(margins, bundle.recipe, samples.features)
    together = combine(margins, bundle.recipe, samples.features).probabilities
    return {Variant.ENSEMBLE.value: together} | {name: own.probabilities for name, own in submodels.items()}


def record_of(labels: NDArray[np.bool_], answers_of: dict[str, Array], reference: dict[str, Array]) -> dict[str, Any]:
    """Return ``figures_of`` the ensemble, and of each submodel under ``opinions``."""
    figures = {name: figures_of(labels, p, reference[name]) for name, p in answers_of.items()}
    together = figures.pop(Variant.ENSEMBLE.value)
    return {**together, "opinions": figures} if figures else dict(together)


def figures_of(labels: NDArray[np.bool_], p: Array, reference: Array) -> dict[str, float]:
    """Return AUC and expected calibration error, their changes from the reference, and the largest change of ``p``."""
    area, error = auc(labels, p), expected_calibration_error(labels, p)
    return {
        "auc": area,
        "ece": error,
        "auc_change": area - auc(labels, reference),
        "ece_change": error - expected_calibration_error(labels, reference),
        "largest_change": float(np.abs(p - reference).max()),
    }


def measure_engines(bundle: Bundle, data: Path, split: str, *, seed: int) -> dict[str, Any]:
    """Return the record for ``recipe["engines"]``; writes int8 networks to the bundle if they are accepted."""
    samples = read_samples(bundle.task, data, split)
    reference = probabilities_of(bundle, REFERENCE, samples)
    measured: dict[str, dict[str, Any]] = {}
    for engine in Engine:
        if engine in {REFERENCE, Engine.TORCH_COMPILED} or why_unusable(engine, "cpu"):
            continue
        record: dict[str, Any] = {}
        measured_bundle = bundle
        if engine is Engine.OPENVINO_INT8:
            record["files"] = quantise(bundle, read_samples(bundle.task, data, "val").patches, seed=seed)
            measured_bundle = replace(bundle, recipe={**bundle.recipe, "engines": {"measured": {engine: record}}})
        record |= record_of(samples.labels, probabilities_of(measured_bundle, engine, samples), reference)
        if "files" in record and not is_within_tolerance(record):
            del record["files"]
            shutil.rmtree(bundle.folder / "int8")
        measured[engine] = record
        print(f"{engine}: {record}", file=sys.stderr)
    return {
        "split": split,
        "n": len(samples.labels),
        "reference": {
            "engine": REFERENCE,
            "auc": auc(samples.labels, reference[Variant.ENSEMBLE]),
            "ece": expected_calibration_error(samples.labels, reference[Variant.ENSEMBLE]),
        },
        "measured": measured,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints one JSON object last."""
    parser = argparse.ArgumentParser(prog="python -m training.engines", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=None, help="bundle folder; default: the shipped one of --task")
    parser.add_argument("--task", choices=["nodule", "filter"], default="nodule", help="which shipped bundle")
    parser.add_argument("--split", default="test", help="a split that the networks have not seen")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    started = time.monotonic()
    try:
        bundle = read_bundle(args.bundle or SHIPPED / args.task)
        refuse_leaks(bundle.task, args.data)
        record = plain(measure_engines(bundle, args.data, args.split, seed=args.seed))
    except (BundleError, DataError, LeakError, OSError) as error:
        print(f"training.engines: {error}", file=sys.stderr)
        return 2
    recipe = {**bundle.recipe, "engines": record}
    write_recipe(bundle.folder, recipe)
    write_card(bundle.folder, recipe)
    print(json.dumps({"task": bundle.task, **record, "seconds": round(time.monotonic() - started, 1)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
