"""``python -m training.train --task nodule|filter|slice --data DIR --out DIR --seed N``: train a model.

Patch tasks (nodule, filter) train on the split ``train`` and keep ``val`` for calibration. With ``--folds 5`` they
train every network five times more, each without one fold of the patients of ``train`` and ``val``, calibrate on those
out-of-fold margins and ship networks that saw both splits. With ``--refit`` they calibrate on ``val`` and then train
the network that ships once more, on both splits. Splits named ``test`` and ``e2e`` are never trained on.
Training goes on where it stopped when started again with the same ``--out``.
With several GPUs, start it by
``torchrun --nproc-per-node N -m training.train ...``: N processes share every batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.bundle import build_network, write_weights
from inference.networks.planar import PRESETS, parameter_count
from training.data.augment import PatchBatch
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError
from training.data.slices import train_slices
from training.data.splits import LeakError, group_folds, split_hash
from training.fitting.tasks import GROUPS, READERS, Group, PatchSamples, PatchTask, patch_margins
from training.loop import EpochReport, fit
from training.parallel import World, WorldError, join_world

HELD_OUT = ("test", "e2e")


def choose_device(name: str) -> torch.device:
    """Return the device; ``auto`` is CUDA if available."""
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else "cpu" if name == "auto" else name)


def commit_of_code() -> str | None:
    """Return the commit of this code, with ``+`` if files were changed since; None outside a repository."""
    where = Path(__file__).parent
    try:
        head, changed = (
            subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603, S607
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def progress_printer(title: str) -> Callable[[EpochReport], None]:
    """Return a function that prints an epoch with the seconds left, by the epochs that this process has trained."""
    started, first = time.monotonic(), 0

    def report(epoch: EpochReport) -> None:
        nonlocal first
        first = first or epoch.epoch  # a later one than 1 where training was resumed
        epoch_s = (time.monotonic() - started) / (epoch.epoch - first + 1)
        left = epoch_s * (epoch.epochs - epoch.epoch)
        figure = "" if epoch.validation is None else f" validation {epoch.validation:.4f}"
        print(
            f"{title}: epoch {epoch.epoch}/{epoch.epochs} loss {epoch.loss:.4f}{figure}, {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return report


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of the command line."""

    seed: int
    epochs: int | None
    folds: int
    refit: bool = False
    compiled: bool = False


class PatchTrainer:
    """Trainer of a patch task: networks for out-of-fold margins, and those that ship."""

    def __init__(self, task: PatchTask, world: World, out: Path, options: TrainOptions) -> None:
        self.task, self.world, self.device, self.out, self.options = task, world, world.device, out, options
        self.batch = PatchBatch.of(task.patches, self.device)
        self.trainable = task.usable & ~np.isin(task.splits, HELD_OUT)
        is_val = task.splits == "val"
        if options.folds:
            fold = self._folds(options) if task.folds is None else task.own_folds(options.folds)
            self.unseen = {str(k): self.trainable & (fold == k) for k in range(options.folds)}
        else:
            self.unseen = {"val": self.trainable & is_val}
            if not options.refit:
                self.trainable = self.trainable & ~is_val
        (out / "checkpoints").mkdir(parents=True, exist_ok=True)

    def _folds(self, options: TrainOptions) -> np.ndarray[Any, Any]:
        """Return the fold of each sample; -1 for patients of whom nothing is judged, whom every fold trains on."""
        judged = np.flatnonzero(~self.task.partly_read)
        groups, labels = [self.task.groups[i] for i in judged], [bool(self.task.labels[i]) for i in judged]
        folds = group_folds(groups, labels, folds=options.folds, seed=options.seed)
        fold_of = dict(zip(groups, folds.tolist(), strict=True))
        return np.array([fold_of.get(group, -1) for group in self.task.groups])

    def chosen(self, group: Group, without: str | None) -> np.ndarray[Any, Any]:
        """Return the indices of the samples that a network of ``group`` is trained on."""
        chosen = self.trainable if without is None else self.trainable & ~self.unseen[without]
        return np.flatnonzero(chosen if group.partly_read else chosen & ~self.task.partly_read)

    def network(self, group: Group, number: int, without: str | None) -> torch.nn.Module:
        """Return member ``number`` of ``group``, trained without one part of ``unseen`` (None: the shipped one)."""
        chosen = self.chosen(group, without)
        if not self.options.folds and not self.options.refit:
            without = None  # the one that ships has not seen ``val`` either
        label = f"{group.name}-{number}-{without or 'all'}"
        done = self.out / "checkpoints" / f"{label}.pt"
        seed = self.options.seed * 1000 + number * 10 + (int(without) if without and without.isdigit() else 9)
        torch.manual_seed(seed)
        network = build_network(group.description)
        if done.is_file():
            network.load_state_dict(torch.load(done, weights_only=True, map_location="cpu"))
            return network.to(self.device).eval()
        indices = torch.from_numpy(chosen).to(self.device)
        targets, weights = self.task.targets_at(indices, self.device)
        samples = PatchSamples(self.batch[indices], targets, weights, group.view, group.augment)
        schedule = group.schedule_of(len(indices))
        schedule = replace(schedule, epochs=self.options.epochs) if self.options.epochs else schedule
        resume = done.with_suffix(".resume")
        network = fit(
            network,
            samples,
            schedule,
            seed=seed,
            world=self.world,
            checkpoint=resume,
            compiled=self.options.compiled,
            report=progress_printer(f"{self.task.name} {label}"),
        )
        if self.world.is_first:
            torch.save(network.state_dict(), done)
            resume.unlink(missing_ok=True)
        self.world.wait()
        return network

    def unseen_margins(self, group: Group, number: int) -> np.ndarray[Any, Any]:
        """Return out-of-fold margins of every calibration sample; NaN for the others."""
        margins = np.full(len(self.task.names), np.nan)
        for part, chosen in self.unseen.items():
            held = np.flatnonzero(chosen & ~self.task.partly_read)
            self._set_margins(self.network(group, number, part), group, held, margins)
        return margins

    def _set_margins(
        self, network: torch.nn.Module, group: Group, held: np.ndarray[Any, Any], margins: np.ndarray[Any, Any]
    ) -> None:
        """Set the margins of the ``held`` samples (first process only)."""
        if self.world.is_first:
            margins[held] = patch_margins(network, group.view, [self.task.patches[i] for i in held], self.device)


def train_checkpoints(groups: list[Group], trainer: PatchTrainer) -> dict[str, Any]:
    """Train the networks of some groups and leave their checkpoints for a later complete run.

    Raises
    ------
    DataError
        There is no such group.
    """
    if not groups:
        raise DataError("--only names no group of this task")
    for group in groups:
        for number in range(group.seeds):
            trainer.unseen_margins(group, number)
            trainer.network(group, number, None)
    return {"groups": [group.name for group in groups], "out": str(trainer.out)}


def train_patches(task: PatchTask, groups: list[Group], trainer: PatchTrainer, out: Path) -> dict[str, Any]:
    """Train all members; the first process writes weights, out-of-fold margins, raw recipe and summary."""
    networks, members, margins = {}, [], []
    for group in groups:
        for number in range(group.seeds):
            margins.append(trainer.unseen_margins(group, number))
            prefix = f"{group.name}{number}"
            networks[prefix] = trainer.network(group, number, None)
            members.append(group.member(prefix))
    if not trainer.world.is_first:
        return {}
    trained = [n for n, ok in zip(task.names, trainer.trainable, strict=True) if ok]
    training = {
        "samples": len(trained),
        "patients": len({g for g, ok in zip(task.groups, trainer.trainable, strict=True) if ok}),
        "split_sha256": split_hash(trained),
        "seed": trainer.options.seed,
        "commit": commit_of_code(),
        "folds": trainer.options.folds,
        "refit": trainer.options.refit,
        "schedules": {g.name: asdict(g.schedule_of(len(trainer.chosen(g, None)))) for g in groups},
        "partly_read": {g.name: int(task.partly_read[trainer.chosen(g, None)].sum()) for g in groups},
        "augmentation": {g.name: asdict(g.augment) for g in groups},
    }
    write_trained(out, task, Trained(networks, members, margins, training))
    count = sum(parameter_count(n) for n in networks.values())
    return {"task": task.name, "out": str(out), "members": len(members), "parameters": count, **training}


@dataclass(frozen=True, slots=True)
class Trained:
    """Return the shipped networks by prefix, their descriptions, and their out-of-fold margins (else NaN).

    ``training`` is what the bundle records of how they came about.
    """

    networks: dict[str, torch.nn.Module]
    members: list[dict[str, Any]]
    margins: list[np.ndarray[Any, Any]]
    training: dict[str, Any]


def write_trained(out: Path, task: PatchTask, trained: Trained) -> None:
    """Write weights, margins and the raw recipe for ``training.calibrate``."""
    sha256 = write_weights(out, trained.networks)
    np.savez(
        out / "unseen.npz",
        margins=np.stack(trained.margins),
        names=np.array(task.names),
        labels=task.labels,
        labelled=task.labelled,
        groups=np.array(task.groups),
    )
    recipe = {"task": task.name, "classes": task.classes, "members": trained.members, "weights_sha256": sha256}
    (out / "members.json").write_text(json.dumps({**recipe, "training": trained.training}))


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints one JSON object last."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=["nodule", "filter", "slice"], default="nodule")
    parser.add_argument("--data", type=Path, required=True, help="folder of the layout that docs/data.md describes")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the bundle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="paper")
    parser.add_argument("--epochs", type=int, default=None, help="instead of the recipe's own number")
    parser.add_argument("--folds", type=int, default=0, help="0 calibrates on the split val, 5 on out-of-fold margins")
    parser.add_argument("--refit", action="store_true", help="without folds: ship networks trained on val too")
    parser.add_argument("--classes", type=int, choices=[2, 3], default=2, help="slice task: binary or three-class")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--only", default=None, help="train this group's checkpoints only, say beside another process")
    parser.add_argument("--compile", action="store_true", help="fuse operations by torch.compile; needs a C++ compiler")
    args = parser.parse_args(argv)
    started = time.monotonic()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        workers = max(1, min(8, os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        refuse_leaks(args.task, args.data, workers=workers)
        task = None if args.task == "slice" else READERS[args.task](args.data, workers=workers)
        with join_world(choose_device(args.device)) as world:  # only now: its threads and forked readers do not mix
            summary = _train(task, args, world)
    except (DataError, LeakError, WorldError, OSError) as error:
        print(f"training.train: {error}", file=sys.stderr)
        return 2
    if world.is_first:
        about = {"device": str(world.device), "processes": world.size}
        print(json.dumps({**summary, **about, "seconds": round(time.monotonic() - started, 1)}))
    return 0


def _train(task: PatchTask | None, args: argparse.Namespace, world: World) -> dict[str, Any]:
    """Train by the options; return the summary, empty in all processes but the first."""
    torch.backends.cudnn.deterministic = True
    if task is None:
        return train_slices(args.data, args.out, args, world, progress_printer("slice"))
    groups = GROUPS[args.task](args.preset)
    options = TrainOptions(args.seed, args.epochs, args.folds, args.refit, args.compile)
    trainer = PatchTrainer(task, world, args.out, options)
    if args.only:
        return train_checkpoints([g for g in groups if g.name == args.only], trainer)
    return train_patches(task, groups, trainer, args.out)


if __name__ == "__main__":
    raise SystemExit(main())
