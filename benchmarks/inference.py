"""Images a second through the paper's network at batch 1 and 32: float32 beside channels-last bfloat16.

Usage: ``python -m benchmarks.inference [--repeat N] [--device cpu|cuda] [--presets paper,large]``. The weights are
random: speed does not depend on them. The service runs channels-last with bfloat16 autocast.
"""

from __future__ import annotations

import statistics
import time

import torch

from benchmarks.measure import parser, report
from inference.network import PRESETS, AttentionResNet, parameter_count

BATCHES = (1, 32)


def seconds_per_batch(network: torch.nn.Module, inputs: torch.Tensor, dtype: torch.dtype, repeat: int) -> float:
    """Median seconds of one forward pass, after warming up."""
    device = inputs.device.type
    times = []
    with torch.inference_mode(), torch.autocast(device, dtype=dtype, enabled=dtype is not torch.float32):
        for number in range(repeat + 3):
            started = time.perf_counter()
            network(inputs)
            if device == "cuda":
                torch.cuda.synchronize()
            if number >= 3:
                times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure(preset: str, device: str, repeat: int) -> list[dict[str, object]]:
    """Time one preset in both forms at each batch size."""
    rows: list[dict[str, object]] = []
    for form, dtype, layout in (
        ("eager float32", torch.float32, torch.contiguous_format),
        ("channels-last bfloat16", torch.bfloat16, torch.channels_last),
    ):
        network = AttentionResNet(PRESETS[preset]).eval().to(device).to(memory_format=layout)
        for batch in BATCHES:
            inputs = torch.randn(batch, 1, 224, 224, device=device).to(memory_format=layout)
            seconds = seconds_per_batch(network, inputs, dtype, repeat)
            rows.append(
                {
                    "preset": preset,
                    "parameters": parameter_count(network),
                    "form": form,
                    "batch": batch,
                    "ms_per_batch": 1000 * seconds,
                    "images_per_s": batch / seconds,
                }
            )
    return rows


def main() -> None:
    """Measure the presets asked for and report."""
    options = parser(__doc__ or "")
    options.set_defaults(repeat=15)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--presets", default="paper")
    given = options.parse_args()
    rows = [row for preset in given.presets.split(",") for row in measure(preset, given.device, given.repeat)]
    name = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    report("inference", rows, device=name, threads=torch.get_num_threads(), torch=torch.__version__)


if __name__ == "__main__":
    main()
