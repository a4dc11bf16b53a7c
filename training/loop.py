"""Training loop for all tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.memory_layout import as_channels_last, as_inference_layout
from training.parallel import SINGLE_PROCESS, World, WorldError


@dataclass(frozen=True, slots=True)
class Schedule:
    """Training schedule."""

    epochs: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    optimiser: Literal["adamw_onecycle", "adam_steplr"] = "adamw_onecycle"
    patience: int | None = None
    """Epochs without improvement before stopping; None trains to the end and returns the last weights."""


class Samples(Protocol):
    """Training samples of one task."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return augmented inputs, targets (classes or probabilities of class 1), and weights ``(n,)`` or None."""
        ...


@dataclass(slots=True)
class EpochReport:
    """Report of an epoch."""

    epoch: int
    epochs: int
    loss: float
    validation: float | None


def loss_of(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy, weighted by sample; a float target is the probability of class 1 of two."""
    if targets.is_floating_point():
        return functional.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], targets, weight=weights)
    losses = functional.cross_entropy(logits, targets, reduction="none" if weights is not None else "mean")
    return losses if weights is None else (losses * weights).mean()


def _optimiser(
    network: nn.Module, schedule: Schedule, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, bool]:
    """Return the optimiser, its scheduler, and whether the scheduler steps per batch (else per epoch)."""
    if schedule.optimiser == "adam_steplr":
        adam = torch.optim.Adam(network.parameters(), lr=schedule.learning_rate)
        return adam, torch.optim.lr_scheduler.StepLR(adam, step_size=7, gamma=0.1), False
    adamw = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    total = schedule.epochs * steps_per_epoch
    return adamw, torch.optim.lr_scheduler.OneCycleLR(adamw, schedule.learning_rate, total_steps=total), True


def half_precision(device: torch.device) -> torch.dtype:
    """Return the autocast type: bfloat16, or float16 (with scaled gradients) on CUDA devices without it."""
    lacks_it = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.float16 if lacks_it else torch.bfloat16


@dataclass(slots=True)
class _Run:
    """State of a training: the checkpoint's content, and ``forward``, the distributed, compiled network.

    Each process has a ``generator`` of its own; the order of the samples is the first one's.
    """

    network: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimiser: torch.optim.Optimizer
    plan: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    generator: torch.Generator
    world: World
    epoch: int = 0
    best: float = -1.0
    best_state: dict[str, Tensor] | None = None
    waited: int = 0

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint.

        Raises
        ------
        WorldError
            Another number of processes wrote it.
        """
        saved = torch.load(path, map_location=self.world.device, weights_only=True)
        if len(saved["generators"]) != self.world.size:
            raise WorldError(
                f"{path} was written by {len(saved['generators'])} processes, not {self.world.size}: "
                "start as many as then, or train into another --out"
            )
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.plan.load_state_dict(saved["plan"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(saved["scaler"])
        self.generator.set_state(saved["generators"][self.world.rank].cpu())
        self.epoch, self.best = saved["epoch"], saved["best"]
        self.best_state, self.waited = saved["best_state"], saved["waited"]

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically, in the first process, with all generators."""
        generators = self.world.gathered(self.generator.get_state())
        if not self.world.is_first:
            return
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plan": self.plan.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generators": generators,
            "epoch": self.epoch,
            "best": self.best,
            "best_state": self.best_state,
            "waited": self.waited,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def judge(self, figure: float) -> None:
        """Store the weights if this is the best epoch so far."""
        self.waited = 0 if figure > self.best else self.waited + 1
        if figure > self.best:
            self.best = figure
            self.best_state = {k: v.detach().clone() for k, v in self.network.state_dict().items()}


def _train_epoch(run: _Run, samples: Samples, schedule: Schedule, *, every_step: bool) -> float:
    """Train one epoch; the last, incomplete batch is left out because of batch norm."""
    run.network.train()
    device, precision = run.world.device, half_precision(run.world.device)
    order = run.world.agreed(torch.randperm(len(samples), generator=run.generator))
    steps = len(samples) // schedule.batch_size or 1
    total = torch.zeros((), device=device)
    for step in range(steps):
        chosen, weight = run.world.share_of(order[step * schedule.batch_size : (step + 1) * schedule.batch_size])
        inputs, targets, weights = samples.batch(chosen, run.generator)
        with torch.autocast(device.type, dtype=precision):
            logits = run.forward(as_channels_last(inputs))
        loss = loss_of(logits.float(), targets, weights) * weight
        run.optimiser.zero_grad(set_to_none=True)
        run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        run.scaler.step(run.optimiser)
        run.scaler.update()
        if every_step:
            run.plan.step()
        total += loss.detach()
    if not every_step:
        run.plan.step()
    return float(run.world.mean(total)) / steps


def fit(
    network: nn.Module,
    samples: Samples,
    schedule: Schedule,
    *,
    seed: int,
    world: World = SINGLE_PROCESS,
    checkpoint: Path | None = None,
    compiled: bool = False,
    validate: Callable[[nn.Module], float] | None = None,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> nn.Module:
    """Train ``network`` in half precision and channels-last; resumes from ``checkpoint`` where it exists.

    With ``validate`` and a ``patience`` the weights of the best epoch are returned (early stopping). ``compiled`` fuses
    what lies between the convolutions (torch.compile; needs a C++ compiler), which on a CPU nearly doubles the speed.
    ``schedule.batch_size`` is that of all processes of ``world`` together; the same seed and number of processes give
    the same weights. Every process returns the same network.
    """
    network = as_inference_layout(world.with_joint_statistics(network.to(world.device)))
    optimiser, plan, every_step = _optimiser(network, schedule, len(samples) // schedule.batch_size or 1)
    forward = world.distribute(network)
    scaler = torch.amp.GradScaler(world.device.type, enabled=half_precision(world.device) is torch.float16)
    generator = torch.Generator().manual_seed(seed + (world.rank << 32))
    run = _Run(network, torch.compile(forward) if compiled else forward, optimiser, plan, scaler, generator, world)
    if checkpoint is not None and checkpoint.is_file():
        run.resume(checkpoint)
    while run.epoch < schedule.epochs and (schedule.patience is None or run.waited < schedule.patience):
        loss = _train_epoch(run, samples, schedule, every_step=every_step)
        run.epoch += 1
        figure = None
        if validate is not None:
            judged = validate(network.eval()) if world.is_first else 0.0
            figure = float(world.agreed(torch.tensor(judged, dtype=torch.float64)))
            run.judge(figure)
        if world.is_first:
            report(EpochReport(run.epoch, schedule.epochs, loss, figure))
        if checkpoint is not None and run.epoch % 5 == 0:
            run.save(checkpoint)
    if schedule.patience is not None and run.best_state is not None:
        network.load_state_dict(run.best_state)
    world.equalise(network)
    return network.eval()
