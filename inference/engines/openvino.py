"""Inference by OpenVINO on a CPU; imported only if the extra ``openvino`` is installed and chosen."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # no usage reports

import openvino as ov  # noqa: E402 - after the line that keeps its telemetry out

if TYPE_CHECKING:
    from torch import nn

_CORE = ov.Core()
TOPOLOGY = Path("/sys/devices/system/cpu")


def converted(network: nn.Module, input_shape: tuple[int, ...]) -> Any:
    """Convert a network to an OpenVINO model for batches of ``input_shape`` (channels, ...)."""
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and what the converter takes
        model = ov.convert_model(network, example_input=torch.zeros(2, *input_shape))
    model.reshape([-1, *input_shape])
    return model


def read_network(path: Path) -> Any:
    """Read the output of ``write_network``: graph (XML) and weights (bin), without code."""
    return _CORE.read_model(path, path.with_suffix(".bin"))


def network_of(graph: bytes, weights: bytes) -> Any:
    """Parse the output of ``write_network`` from bytes; raises ``RuntimeError`` if it is invalid."""
    return _CORE.read_model(graph, weights)


def write_network(model: Any, path: Path) -> None:
    """Write graph and weights to ``path`` (``.xml``) and its ``.bin``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, path, compress_to_fp16=False)


class _Runner:
    """A compiled network; calls from several threads are serialised."""

    def __init__(self, model: Any, precision: str) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": thread_count(),
            "ENABLE_CPU_PINNING": False,  # other processes of the service work on the same cores
        }
        self._compiled = _CORE.compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._lock:
            (logits,) = self._request.infer([np.ascontiguousarray(inputs)], share_inputs=True).values()
            return np.array(logits)


def runner_of(model: Any, *, precision: str) -> _Runner:
    """Compile for this machine; ``precision`` (``f32``, ``bf16``) applies to layers that are not quantised."""
    return _Runner(model, precision)


def thread_count() -> int:
    """Return the number of threads that torch uses, or would: by default one on each core that this process may use."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    if (limit := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(limit) > 0:
        return int(limit)
    return len({_hardware_threads(cpu) for cpu in os.sched_getaffinity(0)})


def _hardware_threads(cpu: int) -> str:
    """Return the logical CPUs of the core that a logical CPU belongs to."""
    try:
        return (TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)
