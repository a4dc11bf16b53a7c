"""Runs networks by OpenVINO on a CPU. Only loaded where the extra ``openvino`` is installed and chosen."""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # nothing here reports usage to anybody

import openvino as ov  # noqa: E402 - after the line that keeps its telemetry out

_CORE = ov.Core()


def converted(network: nn.Module, input_shape: tuple[int, ...]) -> Any:
    """The network as an OpenVINO model for any number of inputs of ``input_shape`` (channels, ...)."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and what the converter takes
        model = ov.convert_model(network, example_input=torch.zeros(2, *input_shape))
    model.reshape([-1, *input_shape])
    return model


def read_network(path: Path) -> Any:
    """Read a network that ``write_network`` wrote: graph (XML) and weights (bin); neither holds code."""
    return _CORE.read_model(path, path.with_suffix(".bin"))


def network_of(graph: bytes, weights: bytes) -> Any:
    """Make a network of what ``write_network`` wrote, as bytes; raises ``RuntimeError`` where it is none."""
    return _CORE.read_model(graph, weights)


def write_network(model: Any, path: Path) -> None:
    """Write graph and weights to ``path`` (``.xml``) and its ``.bin``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, path, compress_to_fp16=False)


class _Runner:
    """A compiled network; calls from several threads take turns."""

    def __init__(self, model: Any, precision: str) -> None:
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # other processes of the service work on the same cores
        }
        self._compiled = _CORE.compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, inputs: Tensor) -> Tensor:
        with self._lock:
            (logits,) = self._request.infer([inputs.contiguous().numpy()], share_inputs=True).values()
            return torch.from_numpy(logits.copy())


def runner_of(model: Any, *, precision: str) -> _Runner:
    """Compile for this machine; ``precision`` (``f32``, ``bf16``) is that of what is not quantised."""
    return _Runner(model, precision)
