"""Configuration of a federated run, checked before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from training.data.records import DataError
from training.fitting.tasks import GROUPS, Group

STRATEGIES = ("fedavg", "fedprox", "trimmed", "median", "private")


@dataclass(frozen=True, slots=True)
class Plan:
    """Parameters of a federated run. Field names are those of the run configuration, with ``-`` for ``_``.

    Attributes
    ----------
    group
        Which of the nodule networks is trained (``planar``, ``volumetric``, ``close``).
    strategy
        ``fedavg`` (McMahan et al. 2017), ``fedprox`` (Li et al. 2020), ``trimmed`` and ``median`` (Yin et al. 2018,
        which bear a poisoned site), ``private`` (FedAvg with clipped updates and Gaussian noise, McMahan et al. 2018).
    rounds, local_epochs
        Rounds of the federation, and passes over its own nodules that a site makes in each.
    sites
        Sites that the server waits for at the start and asks in every round; ``least`` must answer for a round to
        count, else the joint network stays as it was.
    wait_s
        Seconds that a round waits for its sites.
    proximal_mu
        Weight of FedProx' pull towards the joint network.
    noise_multiplier, clipping_norm
        Of ``private``: standard deviation of the noise in units of the clipping norm, and that norm.
    """

    group: str = "close"
    strategy: str = "fedavg"
    rounds: int = 15
    local_epochs: int = 2
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0
    sites: int = 4
    least: int = 2
    wait_s: float = 3600.0
    proximal_mu: float = 0.1
    trim: float = 0.25
    noise_multiplier: float = 1.0
    clipping_norm: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises
        ------
        DataError
            A value is out of range; the message says which and what is allowed.
        """
        if self.strategy not in STRATEGIES:
            raise DataError(f"strategy {self.strategy!r} is none of {', '.join(STRATEGIES)}")
        if self.group not in {g.name for g in GROUPS["nodule"]("paper")}:
            raise DataError(f"group {self.group!r} is no nodule network")
        if not 1 <= self.least <= self.sites:
            raise DataError(f"least is {self.least}: it must lie between 1 and the number of sites, {self.sites}")
        if not 0 <= self.trim < 0.5:
            raise DataError(f"trim is {self.trim}: it must be at least 0 and below 0.5")
        for name in ("rounds", "local_epochs", "batch_size", "learning_rate", "wait_s", "clipping_norm"):
            if getattr(self, name) <= 0:
                raise DataError(f"{name.replace('_', '-')} must be above 0")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Plan:
        """Parse a run configuration; other keys are ignored.

        Raises
        ------
        DataError
            A value has another type than the plan's, or is out of range.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            given = config.get(field.name.replace("_", "-"))
            if given is None:
                continue
            kind: type[str | int | float] = type(getattr(cls(), field.name))
            try:
                values[field.name] = kind(given)
            except (TypeError, ValueError):
                raise DataError(f"{field.name.replace('_', '-')} must be a {kind.__name__}") from None
        return cls(**values)

    def config(self) -> dict[str, str | int | float]:
        """Return the run configuration, which :meth:`of` parses."""
        return {f.name.replace("_", "-"): getattr(self, f.name) for f in fields(self)}

    def network_group(self) -> Group:
        """Return the trained network with its view and augmentation."""
        return next(g for g in GROUPS["nodule"]("paper") if g.name == self.group)
