"""``python -m training.picture_gate --data DIR``: fit and evaluate the gate of the slice model.

Counts, for each split and class, the pictures that are refused, with exact limits, and for each distortion of
``training.picture_distortions`` how many of the split's pictures are refused. ``--fit`` first fits the gate anew on the
clusters of ``train`` and ``val`` and writes it into the bundle; the network's weights do not change. Prints one JSON
object last.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from inference.bundle import SHIPPED, read_bundle, write_recipe
from inference.errors import BundleError
from inference.metrics import exact_interval
from inference.ood.picture_gate import Grey, PictureGate, PictureMeasures, content_of, descriptor_of, measure
from inference.slices.slice_classifier import gate_of
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError
from training.data.slices import read_full_picture, slice_folder
from training.data.splits import LeakError
from training.fitting.cards import write_card
from training.picture_distortions import ACCEPTABLE, FOREIGN, UNACCEPTABLE, Distort

Array = NDArray[np.float64]
COMPONENTS = 24
WIDENED = 0.15
"""Limits are widened by this share of their width beyond what the pictures of train and val show."""
FAR_QUANTILE, FAR_TIMES = 0.995, 1.1
OUTER_QUANTILE = 0.002
"""Share of images outside a measure's limits before widening, at each end."""
VERSIONS_OF_EVERY = 5
"""Acceptable versions (scaled, compressed, framed) of every fifth picture are fitted, too."""
UNBOUNDED = 1e9
VERSIONS = [name for name in ACCEPTABLE if name != "as it is"]
NEAR_QUANTILE = 0.99
"""Share of val's pictures, and of their acceptable versions, that lie within ``max_neighbour`` before it is widened."""
PICTURES_PER_KIND = 20
"""Foreign pictures of each kind."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A line of the manifest."""

    path: Path
    label: str
    split: str


def read_manifest(data: Path) -> list[Picture]:
    """Return the images without exact duplicates."""
    folder = slice_folder(data)
    with (folder / "manifest.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if not line["duplicate_of"]]
    return [Picture(folder / line["file"], line["label"], line["split"]) for line in lines]


def judged(names: Sequence[str], number: int, path: Path) -> list[tuple[PictureMeasures, Array]]:
    """Return measures and descriptor of an image after each of the named distortions."""
    grey = read_full_picture(path)
    return [_judged(distorted(name, number, grey)) for name in names]


def distorted(name: str, number: int, grey: Grey) -> Grey:
    """Distort a picture, each with a generator of its own."""
    distort: Distort = {**ACCEPTABLE, **UNACCEPTABLE}[name]
    return distort(grey, np.random.default_rng((0, number)))


def _judged(grey: Grey) -> tuple[PictureMeasures, Array]:
    content = content_of(grey)
    return measure(content), descriptor_of(content)


def fit_gate(out: Path, data: Path, pool: ProcessPoolExecutor | None = None) -> dict[str, Any]:
    """Fit the gate on the pictures of train and val; its tensors go into ``model.safetensors`` of ``out``.

    Returns
    -------
    dict
        The gate's part of the recipe: the limits of each measure, and of the distances from the principal space.
    """
    if pool is None:
        with ProcessPoolExecutor(os.cpu_count()) as own:
            return fit_gate(out, data, own)
    pictures = [picture for picture in read_manifest(data) if picture.split in ("train", "val")]
    numbers = range(len(pictures))
    paths = [picture.path for picture in pictures]
    plain = [one for (one,) in pool.map(partial(judged, ["as it is"]), numbers, paths, chunksize=8)]
    some = list(numbers[::VERSIONS_OF_EVERY])
    versions = list(pool.map(partial(judged, VERSIONS), some, paths[::VERSIONS_OF_EVERY], chunksize=4))
    fitted = plain + [one for each in versions for one in each]
    is_train = np.array([pictures[i].split == "train" for i in [*numbers, *np.repeat(some, len(VERSIONS))]])
    descriptors = np.stack([descriptor for _, descriptor in plain])
    vectors = np.stack([measures.vector() for measures, _ in fitted])
    gate = _space(descriptors[is_train[: len(plain)]], vectors[is_train])
    far = np.quantile([gate.distances(descriptor) for _, descriptor in fitted], FAR_QUANTILE, axis=0) * FAR_TIMES
    unseen = [
        gate.neighbour_distance(measures)
        for (measures, _), is_training in zip(fitted, is_train, strict=True)
        if not is_training
    ]
    weights = {name: tensor for name, tensor in load_file(out / "model.safetensors").items() if name[:5] != "gate."}
    for name in ("mean", "components", "scale", "references", "spread"):
        weights[f"gate.{name}"] = torch.from_numpy(np.ascontiguousarray(getattr(gate, name))).float()
    save_file(weights, out / "model.safetensors")
    columns = [asdict(measures) for measures, _ in fitted]
    return {
        "max_distance": float(far[0]),
        "max_residual": float(far[1]),
        "max_neighbour": float(np.quantile(unseen, NEAR_QUANTILE) * FAR_TIMES) if unseen else UNBOUNDED,
        "measures": {name: _limits(np.array([column[name] for column in columns])) for name in columns[0]},
    }


def _space(descriptors: Array, vectors: Array) -> PictureGate:
    """Principal space of the training pictures and their measures, without limits."""
    mean = descriptors.mean(axis=0)
    _, singular, components = np.linalg.svd(descriptors - mean, full_matrices=False)
    scale = np.maximum(singular[:COMPONENTS] / np.sqrt(max(1, len(descriptors) - 1)), 1e-3)
    spread = np.maximum(vectors.std(axis=0), 1e-3)
    return PictureGate(mean, components[:COMPONENTS], scale, vectors / spread, spread, np.inf, np.inf, np.inf, {})


def _limits(values: Array) -> list[float]:
    low, high = np.quantile(values, [OUTER_QUANTILE, 1 - OUTER_QUANTILE])
    return [float(low - WIDENED * (high - low)), float(high + WIDENED * (high - low))]


def refused(gate: PictureGate, names: Sequence[str], number: int, path: Path) -> list[bool]:
    """Return whether the gate refuses an image after each of the named distortions."""
    grey = read_full_picture(path)
    return [bool(gate.why_unlike(distorted(name, number, grey))) for name in names]


def counted(values: Sequence[bool] | NDArray[np.bool_]) -> dict[str, Any]:
    """Count refusals, with exact 95 % limits of their share (Clopper and Pearson 1934)."""
    count, n = int(np.sum(values)), len(values)
    return {"n": n, "refused": count, "share_interval": list(exact_interval(count, n)) if n else None}


def gate_figures(
    gate: PictureGate, data: Path, split: str, pool: ProcessPoolExecutor, every: int = 1
) -> dict[str, Any]:
    """Refusals by class of the split's pictures, and of every ``every``-th of these after each distortion."""
    pictures = [picture for picture in read_manifest(data) if picture.split == split]
    if not pictures:
        raise DataError(f"no picture of the split {split!r}")
    numbers, paths = range(len(pictures)), [picture.path for picture in pictures]
    as_they_are = np.array(list(pool.map(partial(refused, gate, ["as it is"]), numbers, paths, chunksize=4)))[:, 0]
    names = [*ACCEPTABLE, *UNACCEPTABLE]
    some = numbers[::every]
    table = np.array(list(pool.map(partial(refused, gate, names), some, paths[::every], chunksize=2)))  # (n, names)
    labels = np.array([picture.label for picture in pictures])
    kinds = {name: [bool(gate.why_unlike(make(np.random.default_rng((1, k))))) for k in range(PICTURES_PER_KIND)]
             for name, make in FOREIGN.items()}  # fmt: skip
    by_class = {label: counted(as_they_are[labels == label]) for label in sorted(set(labels))}
    return {
        "split": split,
        "by_class": {"all": counted(as_they_are), **by_class},
        "acceptable": {name: counted(table[:, names.index(name)]) for name in ACCEPTABLE},
        "distorted": {name: counted(table[:, names.index(name)]) for name in UNACCEPTABLE},
        "foreign": {name: counted(values) for name, values in kinds.items()},
    }


def network_sha256(folder: Path) -> str:
    """Return the SHA-256 of the network's own tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
        if not name.startswith("gate."):
            digest.update(name.encode() + tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def refit(folder: Path, data: Path, pool: ProcessPoolExecutor) -> None:
    """Refit the gate of a bundle and write it."""
    recipe = json.loads((folder / "bundle.json").read_text())
    before = network_sha256(folder)
    recipe["gate"] = fit_gate(folder, data, pool)
    if network_sha256(folder) != before:
        raise AssertionError("the network was changed")
    recipe["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    write_recipe(folder, recipe)
    write_card(folder, recipe)


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints one JSON object last."""
    parser = argparse.ArgumentParser(
        prog="python -m training.picture_gate", description="Judge the slice model's gate."
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=SHIPPED / "slice", help="folder of a slice bundle")
    parser.add_argument("--split", default="val", help="a value of the split column")
    parser.add_argument("--fit", action="store_true", help="fit the gate anew and write it into the bundle")
    parser.add_argument("--every", type=int, default=1, help="distort every N-th picture of the split")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    try:
        refuse_leaks("slice", args.data)
        with ProcessPoolExecutor(args.jobs) as pool:
            if args.fit:
                refit(args.bundle, args.data, pool)
            bundle = read_bundle(args.bundle)
            figures = gate_figures(gate_of(bundle), args.data, args.split, pool, args.every)
    except (BundleError, DataError, LeakError, OSError) as error:
        print(f"training.picture_gate: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"bundle_sha256": bundle.sha256, **figures}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
