"""Trains tiny networks in as many processes as ``torchrun`` starts; the first one prints what came out, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.loop import Schedule, fit
from training.parallel import World, WorldError, join_world


class Points:
    """Points on a plane; ``noise`` is drawn from the generator, as augmentation is."""

    def __init__(self, n: int, noise: float) -> None:
        self.points = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        self.classes = (self.points.mean(dim=(1, 2, 3)) > 0).long()
        self.noise = noise

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, None]:
        noise = torch.randn(len(indices), 3, 4, 4, generator=generator) * self.noise
        return self.points[indices] + noise, self.classes[indices], None


class Interrupted(Exception):
    """Stands for a kill."""


class Fragile(Points):
    """Is interrupted, in all processes at once, after so many batches."""

    batches_left = 19

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, None]:
        self.batches_left -= 1
        if self.batches_left == 0:
            raise Interrupted
        return super().batch(indices, generator)


def small_network(*, batch_norm: bool) -> nn.Module:
    torch.manual_seed(0)
    norm = [nn.BatchNorm2d(8)] if batch_norm else []
    return nn.Sequential(nn.Conv2d(3, 8, 3), *norm, nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))


def weights(network: nn.Module) -> list[float]:
    return [float(v) for value in network.state_dict().values() for v in value.flatten()]


def results(world: World, folder: Path) -> Iterator[tuple[str, object]]:
    """Compared values by name."""
    plain = Schedule(epochs=4, batch_size=5)
    yield "unequal_shards", weights(fit(small_network(batch_norm=False), Points(20, 0.0), plain, seed=3, world=world))
    yield "one_sample", weights(fit(small_network(batch_norm=False), Points(1, 0.0), plain, seed=3, world=world))

    def spread(network: nn.Module) -> float:
        return float(network(Points(9, 0.0).points).std())

    noisy: dict[str, Any] = {"seed": 3, "world": world, "validate": spread}
    long = Schedule(epochs=7, batch_size=6, patience=9)
    unsplit = fit(small_network(batch_norm=True), Points(20, 0.5), long, **noisy)
    yield "whole", weights(unsplit)
    yield "same_everywhere", len({tuple(part.tolist()) for part in world.gathered(torch.tensor(weights(unsplit)))}) == 1

    checkpoint = folder / "resume.pt"
    try:
        fit(small_network(batch_norm=True), Fragile(20, 0.5), long, checkpoint=checkpoint, **noisy)
    except Interrupted:
        world.wait()
    yield "resumed", weights(fit(small_network(batch_norm=True), Points(20, 0.5), long, checkpoint=checkpoint, **noisy))
    saved = torch.load(checkpoint, weights_only=True)
    world.wait()
    if world.is_first:
        torch.save({**saved, "generators": saved["generators"] * 2}, checkpoint)
    world.wait()
    try:
        fit(small_network(batch_norm=True), Points(20, 0.5), long, checkpoint=checkpoint, **noisy)
    except WorldError as error:
        yield "refusal", str(error)


if __name__ == "__main__":
    with join_world(torch.device("cpu")) as world:
        fits = dict(results(world, Path(sys.argv[1])))
        if world.is_first:
            print(json.dumps(fits))
