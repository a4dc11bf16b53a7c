"""A site's nodules, its local training and its margin counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inference.bundle import build_network
from inference.memory_layout import as_channels_last, as_inference_layout
from training.data.augment import PatchBatch
from training.data.records import DataError
from training.federated.counts import MarginCounts
from training.federated.plan import Plan
from training.fitting.tasks import Group, PatchSamples, PatchTask, patch_margins, read_nodule_task
from training.loop import half_precision, loss_of

LEFT_AT_HOME = "num_batches_tracked"
"""Counters of batch norm, which are not averaged."""


@dataclass(slots=True)
class Site:
    """Nodules of one site, in memory on one device."""

    task: PatchTask
    batch: PatchBatch

    @classmethod
    def read(cls, folder: Path, device: torch.device | str = "cpu") -> Site:
        """Read a folder of the layout that docs/data.md describes.

        Raises
        ------
        DataError
            The folder is none of that layout, or holds no usable nodule of the split ``train``.
        """
        task = read_nodule_task(folder, workers=1)
        site = cls(task, PatchBatch.of(task.patches, device))
        if not len(site.chosen("train")):
            raise DataError(f"{folder} has no nodule with usable ratings in the split train")
        return site

    def chosen(self, split: str, *, labelled: bool = False) -> NDArray[np.int64]:
        """Return the indices of a split's usable nodules; with ``labelled`` only benign or malignant ones."""
        chosen = self.task.usable & (self.task.splits == split)
        return np.flatnonzero(chosen & self.task.labelled if labelled else chosen)

    def samples(self, group: Group) -> PatchSamples:
        """Return the training samples of the split ``train``."""
        chosen = torch.from_numpy(self.chosen("train"))
        return PatchSamples(
            self.batch[chosen], *self.task.targets_at(chosen, self.batch.hu.device), group.view, group.augment,
        )  # fmt: skip

    def margins(self, network: nn.Module, group: Group, split: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return logit margins ``(n,)`` of a split's labelled nodules, and their labels."""
        chosen = self.chosen(split, labelled=True)
        if not len(chosen):
            return np.zeros(0), np.zeros(0, dtype=bool)
        patches = [self.task.patches[i] for i in chosen]
        margins = patch_margins(as_inference_layout(network.eval()), group.view, patches, self.batch.hu.device)
        return margins, self.task.labels[chosen]

    def counts(self, network: nn.Module, group: Group, split: str) -> MarginCounts:
        """Return the numbers of benign and malignant nodules in each bin of the margin."""
        return MarginCounts.of(*self.margins(network, group, split))


def new_network(plan: Plan) -> nn.Module:
    """Return the initial network, by the plan's seed."""
    torch.manual_seed(plan.seed)
    return build_network(plan.network_group().description)


def shared_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the exchanged state: weights and running statistics of batch norm, float32 on the CPU."""
    return {k: v.detach().float().cpu() for k, v in network.state_dict().items() if not k.endswith(LEFT_AT_HOME)}


def take_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a received state.

    Raises
    ------
    DataError
        Names or shapes are not this network's.
    """
    own = shared_state(network)
    if own.keys() != state.keys() or any(own[k].shape != v.shape for k, v in state.items()):
        raise DataError("the weights received belong to another network")
    network.load_state_dict(state, strict=False)


def learning_rate_of(plan: Plan, round_number: int) -> float:
    """Return the learning rate of a round: OneCycle (Smith 2018), rising over the first fifth, then a cosine."""
    done = (round_number - 0.5) / plan.rounds
    if done < 0.2:
        return plan.learning_rate * (0.1 + 0.9 * done / 0.2)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - 0.2) / 0.8))


def train_round(
    network: nn.Module, samples: PatchSamples, plan: Plan, round_number: int, *, mu: float, number: int = 0
) -> float:
    """Train ``network`` in place for the plan's local epochs; return the mean loss without FedProx's term.

    Parameters
    ----------
    round_number
        From 1.
    mu
        FedProx: adds ``mu / 2 * |w - w_joint|^2`` to the loss (Li et al. 2020, eq. 2); 0 is FedAvg.
    number
        The site's own, so that sites draw different views from one seed.
    """
    generator = torch.Generator().manual_seed((plan.seed * 1000 + number) * 1000 + round_number)
    network = as_inference_layout(network).train()
    joint = [p.detach().clone() for p in network.parameters()] if mu else []
    rate = learning_rate_of(plan, round_number)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=plan.weight_decay)
    device = samples.targets.device
    losses = []
    for _ in range(plan.local_epochs):
        order = torch.randperm(len(samples), generator=generator)
        batched_count = len(order) // plan.batch_size * plan.batch_size
        for chosen in torch.split(order[:batched_count] if batched_count else order, plan.batch_size):
            if len(chosen) < 2:
                continue  # batch norm wants company
            inputs, targets, weights = samples.batch(chosen, generator)
            with torch.autocast(device.type, dtype=half_precision(device)):
                logits = network(as_channels_last(inputs))
            loss = loss_of(logits.float(), targets, weights)
            losses.append(float(loss.detach()))
            for weight, anchor in zip(network.parameters(), joint, strict=False):
                loss = loss + mu / 2 * (weight - anchor).square().sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return float(np.mean(losses)) if losses else float("nan")
