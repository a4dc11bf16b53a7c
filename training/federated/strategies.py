"""Flower strategies with a guard that rejects invalid or outlying updates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    Strategy,
)
from flwr.supercore.privacy_accounting import NeighboringRelation, PrivacyConfig, SamplingMethod
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant

from training.federated.plan import Plan

WILD = 4.0
"""Updates longer than this multiple of the median are rejected; honest sites are within 2 to 3."""


@dataclass(slots=True)
class Round:
    """Result of one round."""

    number: int
    asked: int
    answered: int
    accepted: int
    samples: int = 0
    """Reported training samples of the accepted sites (with differential privacy each counts as one)."""
    refused: list[str] = field(default_factory=list)
    loss: float | None = None

    def line(self) -> str:
        """Return one line of text."""
        refused = f", refused: {'; '.join(self.refused)}" if self.refused else ""
        loss = "" if self.loss is None else f", loss {self.loss:.4f}"
        accepted = f"{self.accepted} of {self.asked} sites accepted ({self.answered} answered)"
        return f"round {self.number}: {accepted}{loss}{refused}"


class Guarded(Strategy):
    """Strategy wrapper that passes only finite replies with the right shapes and bounded updates.

    A round with fewer good replies than the plan's ``least`` changes nothing.
    """

    def __init__(self, strategy: Strategy, plan: Plan, on_round: Callable[[Round], None]) -> None:
        self.strategy, self.plan, self.on_round = strategy, plan, on_round
        self.rounds: list[Round] = []
        self._joint: dict[str, np.ndarray[Any, Any]] = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """See ``Strategy``; stores the joint weights for checking the replies."""
        self._joint = {k: np.array(v.numpy()) for k, v in arrays.items()}
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        self.rounds.append(Round(server_round, len(messages), 0, 0))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the accepted replies."""
        report = self.rounds[-1]
        answered = [m for m in replies if not m.has_error()]
        report.answered = len(answered)
        accepted = self._sane(answered, report)
        report.accepted = len(accepted)
        report.samples = sum(_weight(reply) for reply in accepted)
        if len(accepted) < self.plan.least:
            report.refused.append(f"fewer than {self.plan.least} good replies, the joint network stays")
            self.on_round(report)
            return None, None
        arrays, metrics = self.strategy.aggregate_train(server_round, accepted)
        if metrics is not None and isinstance(loss := metrics.get("loss"), float):
            report.loss = loss
        self.on_round(report)
        return arrays, metrics

    def _sane(self, replies: list[Message], report: Round) -> list[Message]:
        lengths: list[float] = []
        for reply in replies:
            fault, length = self._judge(reply)
            lengths.append(length)
            if fault:
                report.refused.append(fault)
        finite_lengths = [x for x in lengths if np.isfinite(x)]
        limit = WILD * float(np.median(finite_lengths)) if len(finite_lengths) > 2 else np.inf
        for length in finite_lengths:
            if length > limit > 0:
                report.refused.append(f"an update {length / limit * WILD:.0f} times as long as the median site's")
        return [r for r, length in zip(replies, lengths, strict=True) if np.isfinite(length) and length <= limit]

    def _judge(self, reply: Message) -> tuple[str | None, float]:
        """Return the fault, or None, and the length of the update (infinite with a fault)."""
        if len(reply.content.array_records) != 1 or len(reply.content.metric_records) != 1:
            return "a reply without weights or counts", np.inf
        arrays = next(iter(reply.content.array_records.values()))
        weight = next(iter(reply.content.metric_records.values())).get("num-examples")
        if not isinstance(weight, int | float) or not 0 < weight < 1e7:
            return "a number of nodules that cannot be", np.inf
        if arrays.keys() != self._joint.keys():
            return "weights of another network", np.inf
        square = 0.0
        for name, array in arrays.items():
            values = array.numpy()
            if values.shape != self._joint[name].shape:
                return "weights of another network", np.inf
            square += float(np.square(values.astype(np.float64) - self._joint[name]).sum())
        return (None, float(np.sqrt(square))) if np.isfinite(square) else ("weights that are no numbers", np.inf)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return no messages: evaluation is by counts after the last round."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return None."""
        return None

    def summary(self) -> None:
        """See ``Strategy``."""
        self.strategy.summary()

    def privacy_spent(self) -> dict[str, float] | None:
        """Return epsilon and delta spent so far (client level); None without accounting."""
        if not isinstance(self.strategy, DifferentialPrivacyServerSideFixedClipping):
            return None
        spent = self.strategy.privacy_spent()
        return None if spent is None else {"epsilon": float(spent.epsilon), "delta": float(spent.delta)}


def _weight(reply: Message) -> int:
    """Return the number of nodules that a site reports."""
    return int(next(iter(reply.content.metric_records.values()))["num-examples"])


def make_strategy(plan: Plan, on_round: Callable[[Round], None] = lambda _: None) -> Guarded:
    """Return the plan's guarded strategy; ``on_round`` is called after every round."""
    common: dict[str, Any] = {
        "fraction_evaluate": 0.0,
        "min_train_nodes": plan.least,
        "min_available_nodes": plan.least,
    }
    if plan.strategy == "fedprox":
        return Guarded(FedProx(proximal_mu=plan.proximal_mu, **common), plan, on_round)
    if plan.strategy == "trimmed":
        return Guarded(FedTrimmedAvg(beta=plan.trim, **common), plan, on_round)
    if plan.strategy == "median":
        return Guarded(FedMedian(**common), plan, on_round)
    if plan.strategy == "private":
        accountant = RdpAccountant(
            PrivacyConfig(
                target_delta=1e-3,
                population_size=plan.sites,
                neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
                sampling_method=SamplingMethod.NO_AMPLIFICATION,
            )
        )
        private = DifferentialPrivacyServerSideFixedClipping(
            FedAvg(**common), plan.noise_multiplier, plan.clipping_norm, plan.sites, accountant=accountant
        )
        return Guarded(private, plan, on_round)
    return Guarded(FedAvg(**common), plan, on_round)
