"""Engines that run a network, and the choice among them at start.

An engine turns a network into a runner: inputs in, logits out. Torch is always there; OpenVINO (extra ``openvino``) is
faster on CPUs. Which engines may answer for a bundle stands in its recipe, measured by ``training.engines`` on a split
that the networks have not seen.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference.bundle import Bundle
from inference.errors import BundleError

Runner = Callable[[Tensor], Tensor]
"""``(n, channels, ...)`` float32 on the engine's device to float32 logits ``(n, classes)`` on that device."""

TOLERANCE = 0.002
"""AUC and expected calibration error may move so far from float32's on unseen patients, and no farther."""


class Engine(StrEnum):
    """What runs the networks and in which numbers it counts; the fastest on a CPU first."""

    OPENVINO_INT8 = "openvino-int8"
    OPENVINO_BFLOAT16 = "openvino-bfloat16"
    TORCH_COMPILED = "torch-compiled"
    TORCH_BFLOAT16 = "torch-bfloat16"
    OPENVINO_FLOAT32 = "openvino-float32"
    TORCH_FLOAT32 = "torch-float32"

    @property
    def is_openvino(self) -> bool:
        """Whether it needs OpenVINO; else it is torch's."""
        return self.name.startswith("OPENVINO")


NEVER_BY_ITSELF = frozenset({Engine.TORCH_COMPILED})
"""Compiling takes a minute at each start and a compiler on the machine: only where it is asked for."""
WITHOUT_RECORD = frozenset({Engine.TORCH_BFLOAT16, Engine.TORCH_FLOAT32})
"""These answer for a bundle that records no check; bundles are calibrated on what they say."""


def choose_engine(wanted: str, bundle: Bundle, device: torch.device) -> Engine:
    """The engine called ``wanted``, or for ``auto`` the fastest one here that the bundle's record lets answer.

    Raises
    ------
    BundleError
        The engine that was asked for cannot run here, or may not answer for this bundle.
    """
    if wanted != "auto":
        engine = Engine(wanted)
        if reason := why_unusable(engine, device) or why_unfit(engine, bundle):
            raise BundleError(f"LUNGNODE_MODEL__ENGINE is {wanted}, but {reason}; set it to auto")
        return engine
    usable = (e for e in Engine if e not in NEVER_BY_ITSELF and not why_unusable(e, device))
    return next(e for e in usable if not why_unfit(e, bundle) and (e in WITHOUT_RECORD or recorded(e, bundle)))


def why_unusable(engine: Engine, device: torch.device) -> str | None:
    """Why this machine cannot run the engine at speed, if it cannot."""
    if engine.is_openvino and (device.type != "cpu" or find_spec("openvino") is None):
        return "it needs a CPU and the extra openvino (pip install 'lungnode[openvino]')"
    if engine is Engine.TORCH_COMPILED and shutil.which(os.environ.get("CXX", "g++")) is None:
        return "it needs a C++ compiler"
    if engine in {Engine.OPENVINO_BFLOAT16, Engine.TORCH_BFLOAT16} and not counts_in_bfloat16(device):
        return f"the {device.type} does not count in bfloat16"
    return None


def counts_in_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; emulated it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def recorded(engine: Engine, bundle: Bundle) -> dict[str, Any] | None:
    """What ``training.engines`` wrote of the engine into the bundle."""
    found: dict[str, Any] | None = bundle.recipe.get("engines", {}).get("measured", {}).get(engine)
    return found


def why_unfit(engine: Engine, bundle: Bundle) -> str | None:
    """Why the engine may not answer for this bundle, if it may not; float32 in torch is what others are held against.

    Only int8 has weights of its own and must have been checked; a check that failed bars any engine.
    """
    record = recorded(engine, bundle)
    if engine is Engine.OPENVINO_INT8 and not (record and record.get("files")):
        return f"the bundle {bundle.name} holds no checked int8 networks"
    if record and not is_within_tolerance(record):
        return f"with it the bundle {bundle.name} moved by more than {TOLERANCE} in AUC or calibration error"
    return None


def is_within_tolerance(record: dict[str, Any]) -> bool:
    """Whether AUC and expected calibration error stayed as near to float32's as they must."""
    return all(abs(float(record[name])) <= TOLERANCE for name in ("auc_change", "ece_change"))


def answering_digest(engine: Engine, bundle: Bundle) -> str:
    """Digest of what answers: the bundle's own, and for int8 that of its other weights as well."""
    if engine is not Engine.OPENVINO_INT8:
        return bundle.sha256
    files = (recorded(engine, bundle) or {})["files"]
    return hashlib.sha256("".join([bundle.sha256, *(files[name] for name in sorted(files))]).encode()).hexdigest()


def int8_network(bundle: Bundle, prefix: str) -> Path:
    """The quantised network of one member: the graph (``.xml``), with weights of the same name (``.bin``) beside it.

    Raises
    ------
    BundleError
        A file is missing or not the one that was checked.
    """
    files = (recorded(Engine.OPENVINO_INT8, bundle) or {}).get("files", {})
    graph, weights = (f"int8/{prefix}.{ending}" for ending in ("xml", "bin"))
    for name in (graph, weights):
        path = bundle.folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != files.get(name):
            raise BundleError(f"{name} in {bundle.folder} is not the file that bundle.json was written for")
    return bundle.folder / graph


def make_runner(
    engine: Engine, network: nn.Module, input_shape: tuple[int, ...], device: torch.device, int8: Path | None = None
) -> Runner:
    """Make a runner of a network in evaluation mode and in ``as_inference_layout``.

    Parameters
    ----------
    engine
        One that ``why_unusable`` has nothing against.
    input_shape
        ``(channels, ...)`` of one input.
    device
        Where the network is, and inputs will be.
    int8
        For ``openvino-int8``, what ``int8_network`` gives.
    """
    if not engine.is_openvino:
        return torch_runner(network, device, engine)
    from inference.openvino_engine import converted, read_network, runner_of

    if engine is Engine.OPENVINO_INT8:
        if int8 is None:
            raise ValueError("int8 needs the file of a quantised network")
        return runner_of(read_network(int8), precision="f32")
    precision = "bf16" if engine is Engine.OPENVINO_BFLOAT16 else "f32"
    return runner_of(converted(network, input_shape), precision=precision)


def torch_runner(network: nn.Module, device: torch.device, engine: Engine = Engine.TORCH_BFLOAT16) -> Runner:
    """Run a network by torch, in the numbers that ``engine`` names."""
    forward = torch.compile(network, dynamic=True) if engine is Engine.TORCH_COMPILED else network
    in_bfloat16 = engine is Engine.TORCH_BFLOAT16 or (engine is Engine.TORCH_COMPILED and counts_in_bfloat16(device))

    def run(inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=in_bfloat16):
            logits: Tensor = forward(as_channels_last(inputs))
        return logits.float()

    return run


def as_channels_last(inputs: Tensor) -> Tensor:
    """The memory layout that bfloat16 convolutions are fast in."""
    layout = torch.channels_last_3d if inputs.dim() == 5 else torch.channels_last
    return inputs.to(memory_format=layout)


def as_inference_layout(network: nn.Module) -> nn.Module:
    """Put weights into the memory layout of ``as_channels_last``."""
    volumetric = any(isinstance(m, nn.Conv3d) for m in network.modules())
    return network.to(memory_format=torch.channels_last_3d if volumetric else torch.channels_last)
