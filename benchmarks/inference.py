"""Images a second through the service's networks by each engine that runs here, beside the machine's own limit.

Usage: ``python -m benchmarks.inference [--repeat N] [--device cpu|cuda] [--networks planar,cube32,cube24]``. Weights
are random: speed does not depend on them. ``share_of_peak`` is the network's arithmetic (multiply and add are two
operations) over what the fastest measured matrix product in the same kind of number does in that time; int8 is
held against bfloat16's product, since torch has no fast one on CPUs. Above 1 the engine has the better kernels, or the
machine was busy while the products were timed. Eager float32 at batch 1 is the naive way.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import parser, report
from inference.engines.selection import Engine, Runner, make_runner, why_unusable
from inference.memory_layout import as_inference_layout
from inference.networks.planar import AttentionResNet
from inference.networks.volumetric import VolumetricResNet
from training.engines import quantised

BATCHES = (1, 32)
MATRIX = 2048
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "planar": (AttentionResNet, (1, 224, 224)),
    "cube32": (lambda: VolumetricResNet(in_channels=2), (2, 32, 32, 32)),
    "cube24": (lambda: VolumetricResNet(in_channels=2), (2, 24, 24, 24)),
}


def seconds_of(work: Callable[[], object], repeat: int, device: str) -> tuple[float, float]:
    """Median wall-clock and CPU seconds of ``work``, after warming up twice."""
    wall, cpu = [], []
    for number in range(repeat + 2):
        started, started_cpu = time.perf_counter(), time.process_time()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if number >= 2:
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - started_cpu)
    return statistics.median(wall), statistics.median(cpu)


def peak_gflops(dtype: torch.dtype, device: str, repeat: int) -> float:
    """Operations a second of a square matrix product, in units of 1e9."""
    a, b = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        return 2e-9 * MATRIX**3 / seconds_of(lambda: a @ b, repeat, device)[0]


def gflop_of(network: nn.Module, shape: tuple[int, ...]) -> float:
    """Operations of one input, in units of 1e9."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, *shape))
    return counter.get_total_flops() / 1e9


def runner(engine: Engine, network: nn.Module, shape: tuple[int, ...], device: str, folder: Path) -> Runner:
    """Make the runner that is timed; int8 is quantised on noise."""
    graph = folder / "network.xml"
    if engine is Engine.OPENVINO_INT8:
        from inference.engines.openvino import converted, write_network

        noise = [np.random.default_rng(i).normal(size=(1, *shape)).astype(np.float32) for i in range(4)]
        write_network(quantised(converted(network, shape), noise), graph)
    return make_runner(engine, lambda: as_inference_layout(network).to(device), shape, device, int8=graph)


def measure(name: str, device: str, repeat: int, peaks: dict[str, float]) -> list[dict[str, object]]:
    """Time one network by every engine at each batch size."""
    rows: list[dict[str, object]] = []
    make, shape = NETWORKS[name]
    gflop = gflop_of(make().eval(), shape)
    for engine in Engine:
        if engine is Engine.TORCH_COMPILED or why_unusable(engine, torch.device(device).type):
            continue
        with TemporaryDirectory() as folder:
            run = runner(engine, make().eval(), shape, device, Path(folder))
            for batch in BATCHES:
                drawn = torch.randn(batch, *shape, device=device)
                inputs = drawn.numpy() if engine.is_openvino else drawn
                with torch.inference_mode():
                    wall, cpu = seconds_of(partial(run, inputs), repeat, device)
                peak = peaks["float32" if "float32" in engine else "bfloat16"]
                rows.append(
                    {
                        "network": name,
                        "engine": str(engine),
                        "batch": batch,
                        "ms_per_batch": 1000 * wall,
                        "images_per_s": batch / wall,
                        "cpu_ms_per_image": 1000 * cpu / batch,
                        "gflop_per_image": gflop,
                        "share_of_peak": gflop * batch / wall / peak,
                    }
                )
    return rows


def main() -> None:
    """Measure the networks asked for and report."""
    options = parser(__doc__ or "")
    options.set_defaults(repeat=15)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--networks", default="planar,cube32,cube24")
    given = options.parse_args()
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    peaks = {name: peak_gflops(dtype, given.device, given.repeat) for name, dtype in types.items()}
    torch.manual_seed(0)
    rows = [row for name in given.networks.split(",") for row in measure(name, given.device, given.repeat, peaks)]
    device = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    report("inference", rows, device=device, threads=torch.get_num_threads(), torch=torch.__version__, gflops=peaks)


if __name__ == "__main__":
    main()
