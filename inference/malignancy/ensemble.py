"""Ensemble of a bundle's networks: logit margins per member, combined and calibrated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from inference.bundle import Bundle
from inference.calibration.calibration import calibrated
from inference.calibration.temperatures import MEAN
from inference.engines.selection import Engine, Runner, answering_digest, int8_network, make_runner
from inference.memory_layout import as_inference_layout
from inference.types import CtVolume
from inference.volumes.patch_views import ViewSpec, concatenated, rotate
from inference.volumes.patches import Patch, PatchCentre, sample_patch, sample_view

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from inference.engines.cache import NetworkCache
    from inference.networks.planar import AttentionResNet

Array = NDArray[np.float64]

FEATURES = (
    "longest_mm",
    "perpendicular_mm",
    "equivalent_diameter_mm",
    "sphericity",
    "attached_share",
    "hu_spread",
)
"""Measured features of a nodule; lengths enter as logarithms."""
FEATURE_LIMIT = 4.0
"""Clipping limit of margins and features, in standard deviations."""
BATCH_SIZES = {"cpu": 32, "cuda": 256}
"""Batch size by device; larger batches need more memory and are no faster on a CPU."""


def feature_vector(measures: dict[str, float]) -> Array:
    """Return the values of ``FEATURES`` from ``NoduleMeasure.features()``."""
    values = [np.log(max(measures[n], 0.5)) if n.endswith("_mm") and n != "spike_mm" else measures[n] for n in FEATURES]
    return np.array(values, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class EnsembleAnswer:
    """``n`` answers: combined margins and calibrated probabilities, ``(n,)`` each.

    The probabilities are point estimates for ordering and evaluation; ``inference.calibration.evidence`` bounds what is
    displayed.
    """

    margins: Array
    probabilities: Array
    uncalibrated: Array
    """Sigmoid of the mean of the groups' margins at temperature 1, uncalibrated."""


def network_margins(
    run: Runner, inputs: Iterable[Any], *, rotations: int = 8, batch_size: int = 32
) -> NDArray[np.float32]:
    """Return the mean logit margin over ``rotations`` rotations and flips, ``(n,)``.

    ``inputs`` are parts ``(n, channels, ...)`` of the kind that ``run`` takes; ``batch_size`` images run at once,
    rotations included.
    """
    margins = [np.zeros(0, dtype=np.float32)]
    for plain in inputs:
        rotated = concatenated([rotate(plain, number) for number in range(0, 8, 8 // rotations)], 0)  # (turns * n, ...)
        logits = np.concatenate([run(rotated[at : at + batch_size]) for at in range(0, len(rotated), batch_size)])
        of_rotations = (logits[:, 1] - logits[:, 0]).reshape(rotations, -1)
        margins.append(reduce(np.add, of_rotations) / np.float32(rotations))  # rounded alike whatever n is
    return np.concatenate(margins)


def view_parts(view: ViewSpec, samples: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Generate network inputs from sampled HU, at most ``size`` at once."""
    yield from map(view.network_input, _stacks(samples, size))


def view_tensors(
    view: ViewSpec, samples: Iterable[NDArray[np.float32]], size: int, device: torch.device | str
) -> Iterator[Tensor]:
    """Generate the same as tensors on a device, where they are windowed."""
    import torch

    for stack in _stacks(samples, size):
        yield view.network_input(torch.from_numpy(stack).to(device))


def _stacks(samples: Iterable[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    remaining = iter(samples)
    while part := list(islice(remaining, size)):
        yield np.stack(part)


@dataclass(frozen=True, slots=True)
class _Member:
    """The view and the runner of one network of an ensemble."""

    view: ViewSpec
    run: Runner


class Ensemble:
    """All members of a ``nodule`` or ``filter`` bundle on one device.

    Torch and the weights are loaded when the networks themselves are needed: by torch's engines, for a conversion to
    OpenVINO, and for attention maps.

    Parameters
    ----------
    engine
        Inference engine; default: the one that bundles are calibrated with.
    turns
        Number of rotations and flips (1, 2, 4 or 8) that are averaged; default: the recipe's.
    batch_size
        Images per batch; default: by device.
    cache
        Cache of converted networks for OpenVINO's engines.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device | str,
        *,
        engine: Engine = Engine.TORCH_BFLOAT16,
        rotations: int | None = None,
        batch_size: int | None = None,
        cache: NetworkCache | None = None,
    ) -> None:
        self.bundle = bundle
        self.device = device
        self.engine = engine
        self.sha256 = answering_digest(engine, bundle)
        self._cache = cache
        self._members = [self._member(number) for number in range(len(bundle.recipe["members"]))]
        self._rotations = rotations or int(bundle.recipe["combination"].get("turns", 8))
        self._batch_size = batch_size or BATCH_SIZES[str(device).partition(":")[0]]

    @cached_property
    def _networks(self) -> list[nn.Module]:
        return [as_inference_layout(network) for _, network in self.bundle.members(self.device)]

    def _member(self, number: int) -> _Member:
        description = self.bundle.recipe["members"][number]
        view = ViewSpec.from_json(description["view"])
        int8 = int8_network(self.bundle, description["prefix"]) if self.engine is Engine.OPENVINO_INT8 else None
        convert = None if self._cache is None else partial(self._cache.converted, self.bundle, description)
        run = make_runner(
            self.engine, lambda: self._networks[number], view.input_shape, self.device, int8=int8, convert=convert
        )
        return _Member(view, run)

    @property
    def planar_member(self) -> tuple[ViewSpec, AttentionResNet] | None:
        """The first two-dimensional network (for attention maps), with its view."""
        kinds = [member["kind"] for member in self.bundle.recipe["members"]]
        if "planar" not in kinds:
            return None
        first = kinds.index("planar")
        return self._members[first].view, cast("AttentionResNet", self._networks[first])

    def margins(self, patches: Sequence[Patch]) -> Array:
        """Return the logit margin of every member, ``(members, n)``."""
        return self._margins(sample_view, patches)

    def margins_at(self, volume: CtVolume, centres: Sequence[PatchCentre]) -> Array:
        """Return the logit margin of every member at points of a volume, ``(members, n)``."""
        return self._margins(partial(sample_patch, volume), centres)

    def _margins(self, sample: Callable[..., NDArray[np.float32]], patches: Sequence[Patch | PatchCentre]) -> Array:
        margins, size = [], max(1, self._batch_size // self._rotations)
        with ThreadPoolExecutor(2) as threads:
            for member in self._members:
                cut = partial(sample, shape=member.view.shape, field_mm=member.view.field_mm)
                samples = threads.map(cut, patches)
                inputs: Iterable[Any] = (
                    view_parts(member.view, samples, size)
                    if self.engine.is_openvino
                    else view_tensors(member.view, samples, size, self.device)
                )
                margins.append(
                    network_margins(member.run, inputs, rotations=self._rotations, batch_size=self._batch_size)
                )
        return np.stack(margins).astype(np.float64)

    def answer_at(self, volume: CtVolume, centres: Sequence[PatchCentre]) -> EnsembleAnswer:
        """Return the calibrated answer at points of a volume, without measured features."""
        return combine(self.margins_at(volume, centres), self.bundle.recipe)

    def answer(self, patches: Sequence[Patch], features: Array | None = None) -> EnsembleAnswer:
        """Return the calibrated answer for patches."""
        return combine(self.margins(patches), self.bundle.recipe, features)


def combine(margins: Array, recipe: dict[str, Any], features: Array | None = None) -> EnsembleAnswer:
    """Combine margins ``(members, n)`` and features ``(n, len(FEATURES))``, and calibrate.

    Each network's margins are divided by its temperature (Guo et al. 2017, sec. 4.2) before anything combines them. The
    combination is the ``mean`` over the groups, or ``stacked``: a logistic regression on the groups and the features.
    """
    combination, members = recipe["combination"], recipe["members"]
    columns = stack_columns(temperature_scaled(margins, members), members, combination, features)
    z = columns.mean(axis=1) if combination.get("kind") == MEAN else _stacked(columns, combination)
    kind, parameters = recipe["calibration"]["kind"], recipe["calibration"]["parameters"]
    plain = expit(group_margins(margins, members, combination["groups"]).mean(axis=0))
    return EnsembleAnswer(z, calibrated(z, kind, parameters), np.asarray(plain))


def _stacked(columns: Array, combination: dict[str, Any]) -> Array:
    scaled = (columns - np.array(combination["mean"])) / np.array(combination["std"])
    clipped = np.clip(scaled, -FEATURE_LIMIT, FEATURE_LIMIT)
    return np.asarray(clipped @ np.array(combination["weights"]) + combination["bias"])


def temperature_scaled(margins: Array, members: list[dict[str, Any]]) -> Array:
    """Return the margins ``(members, n)`` of each network divided by its temperature; 1 where the recipe has none."""
    return margins / np.array([float(member.get("temperature", 1.0)) for member in members])[:, None]


def group_margins(margins: Array, members: list[dict[str, Any]], names: Sequence[str]) -> Array:
    """Return the mean margin of the networks of each group, ``(groups, n)``."""
    groups = np.array([member["group"] for member in members])
    return np.stack([margins[groups == name].mean(axis=0) for name in names])


def stack_columns(
    margins: Array, members: list[dict[str, Any]], combination: dict[str, Any], features: Array | None
) -> Array:
    """Return ``(n, groups + features)``: the mean margin of each group, then the features of the combination.

    A missing feature is replaced by the average.
    """
    columns = list(group_margins(margins, members, combination["groups"]))
    first = len(columns)
    for number, name in enumerate(combination["features"]):
        values = np.full(margins.shape[1], np.nan) if features is None else features[:, FEATURES.index(name)]
        average = combination["mean"][first + number] if "mean" in combination else np.nanmean(values)
        columns.append(np.where(np.isfinite(values), values, average))
    return np.stack(columns, axis=1)
