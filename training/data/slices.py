"""Training of the paper's whole-slice model on 8-bit images, split by cluster."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from inference.bundle import write_weights
from inference.networks.planar import PRESETS, AttentionResNet, parameter_count
from inference.slices.slice_image import slice_input
from inference.volumes.preprocessing import PreprocessingSpec, normalise_grey
from training.data.nodules import DataError
from training.data.splits import group_folds, split_hash
from training.loop import EpochReport, Schedule, fit
from training.parallel import World

STORED_SIZE = 256
PAPER_SCHEDULE = Schedule(
    epochs=20, batch_size=32, learning_rate=1e-4, weight_decay=0.0, optimiser="adam_steplr", patience=5
)
CLASSES: dict[int, tuple[str, ...]] = {2: ("benign", "malignant"), 3: ("normal", "benign", "malignant")}


@dataclass(frozen=True, slots=True)
class SliceSet:
    """Pictures ``(n, 256, 256)`` uint8 with class indices, clusters and splits; exact duplicates left out."""

    names: list[str]
    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    clusters: list[str]
    splits: NDArray[np.str_]
    classes: tuple[str, ...]


def slice_folder(data: Path) -> Path:
    """Return the folder with ``manifest.csv``: ``data`` itself or its ``iq_oth_nccd``."""
    for folder in (data, data / "iq_oth_nccd"):
        if (folder / "manifest.csv").is_file():
            return folder
    raise DataError(f"no manifest.csv in {data} (or its iq_oth_nccd); see docs/data.md for the layout")


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read an image as ``(256, 256)`` grey values."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((STORED_SIZE, STORED_SIZE), Image.Resampling.BILINEAR))


def read_full_picture(path: Path) -> NDArray[np.uint8]:
    """Read an image as ``(rows, columns)`` grey values at its own size, as in serving."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def read_slices(data: Path, class_count: int = 2) -> SliceSet:
    """Return all slices of the manifest; with two classes a normal slice counts as benign."""
    folder = slice_folder(data)
    with (folder / "manifest.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if not line["duplicate_of"]]
    classes = CLASSES[class_count]
    named = [("benign" if class_count == 2 and line["label"] == "normal" else line["label"]) for line in lines]
    return SliceSet(
        names=[line["file"] for line in lines],
        pictures=np.stack([read_picture(folder / line["file"]) for line in lines]),
        labels=np.array([classes.index(label) for label in named]),
        clusters=[line["cluster"] for line in lines],
        splits=np.array([line["split"] for line in lines]),
        classes=classes,
    )


class SliceSamples:
    """The paper's augmentation by torchvision v2: random resized crop to 224 and horizontal flip."""

    def __init__(self, pictures: NDArray[np.uint8], labels: NDArray[np.int64], device: torch.device) -> None:
        self.pictures = torch.from_numpy(pictures).to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(224, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, None]:
        """Return augmented, normalised images ``(n, 1, 224, 224)`` and their classes, all of one weight."""
        torch.manual_seed(int(torch.randint(0, 2**62, (1,), generator=generator)))  # v2 draws from the global generator
        chosen = self.pictures[indices.to(self.labels.device)]
        grey = torch.stack([self.transform(picture[None]) for picture in chosen])
        return normalise_grey(grey, PreprocessingSpec()), self.labels[indices.to(self.labels.device)], None


def slice_logits(network: nn.Module, pictures: NDArray[np.uint8], device: torch.device) -> NDArray[np.float64]:
    """Return logits ``(n, classes)`` of unaugmented images, in float32 as in serving."""
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 32):
            inputs = torch.cat([slice_input(picture) for picture in pictures[start : start + 32]]).to(device)
            outputs.append(network(inputs).float().cpu())
    return torch.cat(outputs).numpy().astype(np.float64)


def thumbnail_scores(slices: SliceSet, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return malignancy scores of a baseline: ridge regression on 8x8 thumbnails of the training split."""

    def thumbnails(which: NDArray[np.bool_]) -> NDArray[np.float64]:
        small = slices.pictures[which].reshape(-1, 8, 32, 8, 32).mean(axis=(2, 4)).reshape(-1, 64) / 255.0
        return np.hstack([small, np.ones((len(small), 1))])

    train = slices.splits == "train"
    x, y = thumbnails(train), (slices.labels[train] == slices.classes.index("malignant")).astype(float)
    weights = np.linalg.solve(x.T @ x + 1.0 * np.eye(65), x.T @ y)
    return np.asarray(thumbnails(chosen) @ weights)


@dataclass(frozen=True, slots=True)
class SliceTrainer:
    """Trainer of slice networks, which go on where they stopped."""

    slices: SliceSet
    out: Path
    args: argparse.Namespace
    world: World
    report: Callable[[EpochReport], None]

    @property
    def schedule(self) -> Schedule:
        """The paper's schedule, or its epochs from the command line; without early stopping where folds judge."""
        schedule = PAPER_SCHEDULE if self.args.epochs is None else replace(PAPER_SCHEDULE, epochs=self.args.epochs)
        return replace(schedule, patience=None) if self.args.folds else schedule

    def network(self, name: str, chosen: NDArray[np.bool_], validation: NDArray[np.bool_] | None = None) -> nn.Module:
        """Return a network trained on the chosen slices; with ``validation`` the epoch of the best accuracy there."""
        device, slices = self.world.device, self.slices
        torch.manual_seed(self.args.seed)
        network: nn.Module = AttentionResNet(PRESETS[self.args.preset], num_classes=len(slices.classes))
        done = self.out / f"slice-{name}.pt"
        if done.is_file():
            network.load_state_dict(torch.load(done, weights_only=True, map_location="cpu"))
            return network.to(device).eval()

        def accuracy(candidate: nn.Module) -> float:
            logits = slice_logits(candidate, slices.pictures[validation], device)
            return float((logits.argmax(axis=1) == slices.labels[validation]).mean())

        trained = fit(
            network,
            SliceSamples(slices.pictures[chosen], slices.labels[chosen], device),
            self.schedule,
            seed=self.args.seed,
            world=self.world,
            checkpoint=self.out / "resume.pt",
            compiled=self.args.compile,
            validate=None if validation is None else accuracy,
            report=self.report,
        )
        if self.world.is_first:
            torch.save(trained.state_dict(), done)
            (self.out / "resume.pt").unlink(missing_ok=True)
        self.world.wait()
        return trained


def train_slices(
    data: Path, out: Path, args: argparse.Namespace, world: World, report: Callable[[EpochReport], None]
) -> dict[str, Any]:
    """Train the paper's network; the first process writes weights and logits of unseen slices.

    Without folds it is trained on ``train``, and stops early on ``val``, whose logits are unseen. With folds it is
    trained on both, and the unseen logits come from networks that each lack one fold of the clusters.
    """
    slices = read_slices(data, args.classes)
    trainer = SliceTrainer(slices, out, args, world, report)
    train, val = slices.splits == "train", slices.splits == "val"
    logits = np.full((len(slices.labels), len(slices.classes)), np.nan)
    if args.folds:
        chosen = train | val
        positive = slices.labels == slices.classes.index("malignant")
        fold = np.full(len(chosen), -1)
        clusters = [str(cluster) for cluster in np.array(slices.clusters)[chosen]]
        fold[chosen] = group_folds(clusters, list(positive[chosen]), folds=args.folds, seed=args.seed)
        for k in range(args.folds):
            network = trainer.network(str(k), chosen & (fold != k))
            logits[fold == k] = slice_logits(network, slices.pictures[fold == k], world.device)
        network = trainer.network("all", chosen)
    else:
        chosen = train
        network = trainer.network("all", train, val)
        logits[val] = slice_logits(network, slices.pictures[val], world.device)
    if not world.is_first:
        return {}
    unseen = np.isfinite(logits).all(axis=1)
    np.savez(
        out / "validation.npz",
        logits=logits[unseen],
        labels=slices.labels[unseen],
        groups=np.array(slices.clusters)[unseen],
    )
    training = {
        "samples": int(chosen.sum()),
        "clusters": len(set(np.array(slices.clusters)[chosen])),
        "split_sha256": split_hash([n for n, t in zip(slices.names, chosen, strict=True) if t]),
        "seed": args.seed,
        "folds": args.folds,
        "schedules": {"planar": asdict(trainer.schedule)},
    }
    member = {
        "kind": "planar",
        "preset": args.preset,
        "in_channels": 1,
        "prefix": "planar0",
        "group": "planar",
        "num_classes": len(slices.classes),
    }
    recipe = {
        "task": "slice",
        "classes": slices.classes,
        "members": [member],
        "weights_sha256": write_weights(out, {"planar0": network}),
        "training": training,
    }
    (out / "members.json").write_text(json.dumps(recipe))
    return {"task": "slice", "out": str(out), "parameters": parameter_count(network), **training}
