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
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inference.bundle import Bundle
from inference.errors import BundleError
from inference.memory_layout import as_channels_last

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Runner: TypeAlias = "Callable[[Any], NDArray[np.float32]]"
"""Inputs ``(n, channels, ...)`` float32 to logits ``(n, classes)``.

The inputs of torch's engines are tensors on their device, those of OpenVINO's arrays of NumPy.
"""
Convert: TypeAlias = "Callable[[Callable[[], nn.Module], tuple[int, ...]], Any]"
"""Returns an OpenVINO model of a network, which is called for where it has to be converted, and its input's shape."""

MAX_AUC_CHANGE = 0.002
MAX_PROBABILITY_CHANGE = 0.02
"""Largest accepted change from float32 of the probability of any one case of unseen patients.

It bounds the change of the Brier score. A binned calibration error is no criterion: with 110 cases it moves by
0.01 where one case crosses the border of a bin by 0.005.
"""


class Engine(StrEnum):
    """Inference engines with their number formats, fastest on a CPU first."""

    OPENVINO_INT8 = "openvino-int8"
    OPENVINO_BFLOAT16 = "openvino-bfloat16"
    TORCH_COMPILED = "torch-compiled"
    TORCH_BFLOAT16 = "torch-bfloat16"
    OPENVINO_FLOAT32 = "openvino-float32"
    TORCH_FLOAT32 = "torch-float32"

    @property
    def is_openvino(self) -> bool:
        """Return True if the engine needs OpenVINO."""
        return self.name.startswith("OPENVINO")


NEVER_BY_ITSELF = frozenset({Engine.TORCH_COMPILED})
"""Engines used only on request: compiling takes a minute at each start and needs a compiler."""
CPU_INFO = Path("/proc/cpuinfo")
WITHOUT_RECORD = frozenset({Engine.TORCH_BFLOAT16, Engine.TORCH_FLOAT32})
"""Engines allowed for a bundle without recorded checks; bundles are calibrated with them."""


def choose_engine(name: str, bundle: Bundle, device_type: str) -> Engine:
    """Return the engine called ``name``, or for ``auto`` the fastest one here that the bundle was validated with.

    Raises
    ------
    BundleError
        The engine cannot run here, or was not validated for this bundle.
    """
    if name != "auto":
        engine = Engine(name)
        if reason := why_unusable(engine, device_type) or why_unfit(engine, bundle):
            raise BundleError(f"LUNGNODE_MODEL__ENGINE is {name}, but {reason}; set it to auto")
        return engine
    usable = (e for e in Engine if e not in NEVER_BY_ITSELF and not why_unusable(e, device_type))
    return next(e for e in usable if not why_unfit(e, bundle) and (e in WITHOUT_RECORD or recorded(e, bundle)))


def why_unusable(engine: Engine, device_type: str) -> str | None:
    """Return why this machine cannot run the engine efficiently on ``cpu`` or ``cuda``, or None."""
    if engine.is_openvino and (device_type != "cpu" or find_spec("openvino") is None):
        return "it needs a CPU and the extra openvino (pip install 'lungnode[openvino]')"
    if engine is Engine.TORCH_COMPILED and shutil.which(os.environ.get("CXX", "g++")) is None:
        return "it needs a C++ compiler"
    if engine in {Engine.OPENVINO_BFLOAT16, Engine.TORCH_BFLOAT16} and not counts_in_bfloat16(device_type):
        return f"the {device_type} does not count in bfloat16"
    return None


def counts_in_bfloat16(device_type: str) -> bool:
    """Return whether the device supports bfloat16 natively; emulated it is slower than float32."""
    if device_type == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return not cpu_features().isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


@cache
def cpu_features() -> frozenset[str]:
    """Instruction sets of the CPU as Linux names them (``flags`` on x86, ``Features`` on Arm); empty if unknown."""
    try:
        lines = CPU_INFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    fields = (line.partition(":") for line in lines)
    flags = (frozenset(text.split()) for name, _, text in fields if name.strip() in ("flags", "Features"))
    return next(flags, frozenset())


def recorded(engine: Engine, bundle: Bundle) -> dict[str, Any] | None:
    """Return the bundle's record of an engine (``training.engines``)."""
    record: dict[str, Any] | None = bundle.recipe.get("engines", {}).get("measured", {}).get(engine)
    return record


def why_unfit(engine: Engine, bundle: Bundle) -> str | None:
    """Return why the engine is not validated for this bundle, or None; the reference is float32 in torch.

    Only int8 has weights of its own and must have been checked; a check that failed bars any engine.
    """
    record = recorded(engine, bundle)
    if engine is Engine.OPENVINO_INT8 and not (record and record.get("files")):
        return f"the bundle {bundle.name} holds no checked int8 networks"
    if record and not is_within_tolerance(record):
        return (
            f"with it the AUC of the bundle {bundle.name} moved by more than {MAX_AUC_CHANGE}, "
            f"or a probability by more than {MAX_PROBABILITY_CHANGE}"
        )
    return None


def is_within_tolerance(record: dict[str, Any]) -> bool:
    """Return whether AUC and every probability are close enough to float32's."""
    return (
        abs(float(record["auc_change"])) <= MAX_AUC_CHANGE
        and abs(float(record["largest_change"])) <= MAX_PROBABILITY_CHANGE
    )


def answering_digest(engine: Engine, bundle: Bundle) -> str:
    """Return the digest of the bundle, for int8 combined with that of its quantised weights."""
    if engine is not Engine.OPENVINO_INT8:
        return bundle.sha256
    files = (recorded(engine, bundle) or {})["files"]
    return hashlib.sha256("".join([bundle.sha256, *(files[name] for name in sorted(files))]).encode()).hexdigest()


def int8_network(bundle: Bundle, prefix: str) -> Path:
    """Return the path of a member's quantised graph (``.xml``), with weights (``.bin``) of the same name.

    Raises
    ------
    BundleError
        A file is missing or altered.
    """
    files = (recorded(Engine.OPENVINO_INT8, bundle) or {}).get("files", {})
    graph, weights = (f"int8/{prefix}.{ending}" for ending in ("xml", "bin"))
    for name in (graph, weights):
        path = bundle.folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != files.get(name):
            raise BundleError(f"{name} in {bundle.folder} is not the file that bundle.json was written for")
    return bundle.folder / graph


def make_runner(
    engine: Engine,
    network: Callable[[], nn.Module],
    input_shape: tuple[int, ...],
    device: torch.device | str,
    *,
    int8: Path | None = None,
    convert: Convert | None = None,
) -> Runner:
    """Return a runner for a network.

    Parameters
    ----------
    engine
        One that ``why_unusable`` has nothing against.
    network
        Returns the network in evaluation mode and ``as_inference_layout``; called only where the engine needs it.
    input_shape
        ``(channels, ...)`` of one input.
    device
        Where the network is, and inputs will be.
    int8
        For ``openvino-int8``, what ``int8_network`` gives.
    convert
        Where a conversion to OpenVINO comes from; default: made anew.
    """
    if not engine.is_openvino:
        return torch_runner(network(), device, engine)
    from inference.engines.openvino import converted, read_network, runner_of

    if engine is Engine.OPENVINO_INT8:
        if int8 is None:
            raise ValueError("int8 needs the file of a quantised network")
        return runner_of(read_network(int8), precision="f32")
    precision = "bf16" if engine is Engine.OPENVINO_BFLOAT16 else "f32"
    model = converted(network(), input_shape) if convert is None else convert(network, input_shape)
    return runner_of(model, precision=precision)


def torch_runner(network: nn.Module, device: torch.device | str, engine: Engine = Engine.TORCH_BFLOAT16) -> Runner:
    """Runner of a network in torch, in the number format of ``engine``."""
    import torch

    device_type = torch.device(device).type
    forward = torch.compile(network, dynamic=True) if engine is Engine.TORCH_COMPILED else network
    in_bfloat16 = engine is Engine.TORCH_BFLOAT16
    if engine is Engine.TORCH_COMPILED:
        in_bfloat16 = counts_in_bfloat16(device_type)

    def run(inputs: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(device_type, dtype=torch.bfloat16, enabled=in_bfloat16):
            logits: NDArray[np.float32] = forward(as_channels_last(inputs)).float().cpu().numpy()
        return logits

    return run
