"""Distributed training in several processes of one machine, started by ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

CPU = torch.device("cpu")
PATIENCE = timedelta(hours=2)
"""Timeout of collective operations; only the first process writes files and validates."""


class WorldError(Exception):
    """The processes cannot work together."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of one run; by default one."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Return True if this is the first process, which writes and prints."""
        return self.rank == 0

    def agreed(self, value: Tensor) -> Tensor:
        """Return the first process' value."""
        if self.size == 1:
            return value
        shared = value.to(self.device)
        distributed.broadcast(shared, src=0)
        return shared.to(value.device)

    def gathered(self, value: Tensor) -> list[Tensor]:
        """Return every process' value, in order of rank."""
        if self.size == 1:
            return [value]
        sent = value.to(self.device)
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        distributed.all_gather(parts, sent)
        return [part.to(value.device) for part in parts]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over all processes."""
        return torch.stack(self.gathered(value)).mean(dim=0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()

    def share_of(self, batch: Tensor) -> tuple[Tensor, float]:
        """Return this process' part of a batch of indices, and the weight of its mean loss.

        Parts differ in size where the batch does not divide evenly; weighted so, the mean over the processes (which
        ``DistributedDataParallel`` takes of the gradients) is the mean over the batch. A process without a part goes
        through the motions with the first sample and no weight, for the others wait for it.
        """
        mine = batch[self.rank :: self.size]
        if len(mine) == 0:
            return batch[:1], 0.0
        return mine, len(mine) * self.size / len(batch)

    def distribute(self, network: nn.Module) -> nn.Module:
        """Return ``network`` with gradients averaged over all processes."""
        if self.size == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    def with_joint_statistics(self, network: nn.Module) -> nn.Module:
        """Return ``network`` with synchronised batch norm (CUDA only)."""
        if self.size == 1 or self.device.type != "cuda":
            return network
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted

    def equalise(self, network: nn.Module) -> None:
        """Broadcast the first process' weights and statistics."""
        if self.size > 1:
            for value in network.state_dict().values():
                distributed.broadcast(value, src=0)


SINGLE_PROCESS = World()


@contextmanager
def join_world(device: torch.device) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, over NCCL on CUDA and gloo on the CPU."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(device=device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
