"""One training loop for every task; it reads from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.ensemble import as_channels_last, as_inference_layout


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn."""

    epochs: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    optimiser: Literal["adamw_onecycle", "adam_steplr"] = "adamw_onecycle"
    patience: int | None = None
    """Epochs without a better validation figure after which to stop; None trains to the end and keeps the last."""


class Samples(Protocol):
    """Training samples of one task."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented inputs and targets: class indices (int64) or malignant fractions (float32)."""
        ...


@dataclass(slots=True)
class EpochReport:
    """What is printed after each epoch."""

    epoch: int
    epochs: int
    loss: float
    validation: float | None


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy; a float target is the probability of class 1 of two."""
    if targets.is_floating_point():
        return F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], targets)
    return F.cross_entropy(logits, targets)


def _optimiser(
    network: nn.Module, schedule: Schedule, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, bool]:
    """Optimiser, its learning-rate plan, and whether the plan moves every step (else every epoch)."""
    if schedule.optimiser == "adam_steplr":
        adam = torch.optim.Adam(network.parameters(), lr=schedule.learning_rate)
        return adam, torch.optim.lr_scheduler.StepLR(adam, step_size=7, gamma=0.1), False
    adamw = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    total = schedule.epochs * steps_per_epoch
    return adamw, torch.optim.lr_scheduler.OneCycleLR(adamw, schedule.learning_rate, total_steps=total), True


def fit(
    network: nn.Module,
    samples: Samples,
    schedule: Schedule,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Path | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> nn.Module:
    """Train ``network`` in place, in bfloat16 and channels-last; resumes from ``checkpoint`` where it exists.

    With ``validate`` and a ``patience`` the weights of the best epoch are kept (early stopping).
    """
    network = as_inference_layout(network.to(device))
    generator = torch.Generator().manual_seed(seed)
    steps = len(samples) // schedule.batch_size or 1
    optimiser, plan, every_step = _optimiser(network, schedule, steps)
    best, best_state, waited, first = -1.0, None, 0, 0
    if checkpoint is not None and checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        plan.load_state_dict(saved["plan"])
        generator.set_state(saved["generator"].cpu())
        best, best_state, waited, first = saved["best"], saved["best_state"], saved["waited"], saved["epoch"] + 1
    for epoch in range(first, schedule.epochs):
        if schedule.patience is not None and waited >= schedule.patience:
            break
        network.train()
        order = torch.randperm(len(samples), generator=generator)
        total = 0.0
        for step in range(steps):  # the last, incomplete batch is left out: batch norm wants company
            inputs, targets = samples.batch(
                order[step * schedule.batch_size : (step + 1) * schedule.batch_size], generator
            )
            with torch.autocast(device.type, dtype=torch.bfloat16):
                logits = network(as_channels_last(inputs))
            loss = loss_of(logits.float(), targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if every_step:
                plan.step()
            total += loss.detach()
        if not every_step:
            plan.step()
        figure = None
        if validate is not None:
            network.eval()
            figure = validate(network)
            waited = 0 if figure > best else waited + 1
            if figure > best:
                best, best_state = figure, {k: v.detach().clone() for k, v in network.state_dict().items()}
        report(EpochReport(epoch + 1, schedule.epochs, float(total) / steps, figure))
        if checkpoint is not None and (epoch + 1) % 5 == 0:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "plan": plan.state_dict(),
                     "generator": generator.get_state(), "best": best, "best_state": best_state, "waited": waited,
                     "epoch": epoch}  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
    if schedule.patience is not None and best_state is not None:
        network.load_state_dict(best_state)
    return network.eval()
