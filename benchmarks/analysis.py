"""Seconds to analyse a whole study by each engine, beside the naive way: eager float32, one candidate at a time.

Usage: ``python -m benchmarks.analysis [--repeat N] [--slices 300] [--length 300] [--rows 512] [--engines LIST]
[--bundle DIR]``. The study is a generated chest CT; what is timed is ``NoduleAnalyzer.analyse``, from a volume in HU to
findings. The naive way finds the same candidates by the same code and differs only in how the networks run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.chest import add_size, chest_spec
from benchmarks.measure import parser, report
from dicom_node.phantom.generate import make_phantom
from inference.bundle import bundle_folders, read_bundle
from inference.devices import resolve_device
from inference.engines.selection import Engine, choose_engine, why_unfit, why_unusable
from inference.malignancy.ensemble import Ensemble
from inference.predictor import NoduleAnalyzer
from inference.types import CtVolume

STAGES = ("lungs", "candidates", "sorting", "grading")
"""Stages that the analyzer reports, in order."""
ENGINES = tuple(engine for engine in Engine if engine is not Engine.TORCH_COMPILED)


def chest(slices: int, length_mm: float, rows: int) -> CtVolume:
    """Generate the study."""
    phantom = make_phantom(chest_spec(slices, length_mm, rows))
    return CtVolume(phantom.volume_hu, phantom.spacing_mm, np.diag([*phantom.spacing_mm, 1.0]))


def analyzers(bundle: Path | None, device: torch.device, engines: Collection[Engine]) -> dict[str, NoduleAnalyzer]:
    """The naive way, what the service would choose, and each of ``engines`` that may answer, by name."""
    bundles = [read_bundle(bundle_folders(bundle)[task]) for task in ("nodule", "filter")]
    naive = (Ensemble(b, device, engine=Engine.TORCH_FLOAT32, batch_size=1) for b in bundles)
    chosen = (Ensemble(b, device, engine=choose_engine("auto", b, device.type)) for b in bundles)
    by_name = {"naive": NoduleAnalyzer(*naive), "auto": NoduleAnalyzer(*chosen)}
    for engine in engines:
        if not why_unusable(engine, device.type) and not any(why_unfit(engine, b) for b in bundles):
            by_name[str(engine)] = NoduleAnalyzer(*(Ensemble(b, device, engine=engine) for b in bundles))
    return by_name


def measure(analyzer: NoduleAnalyzer, volume: CtVolume) -> tuple[float, float, dict[str, float]]:
    """Wall-clock and CPU seconds of one analysis, and the wall-clock seconds of its stages."""
    marks: list[float] = []
    started, cpu = time.perf_counter(), time.process_time()
    analyzer.analyse(volume, progress=lambda _done, _text: marks.append(time.perf_counter()))
    ended = time.perf_counter()
    seconds = (later - at for at, later in pairwise(marks))
    stages = {f"{stage}_s": taken for stage, taken in zip(STAGES, seconds, strict=True)}
    return ended - started, time.process_time() - cpu, stages


def main() -> None:
    """Analyse the study by each engine in turn, all of them in each round, and report medians."""
    options = parser(__doc__ or "")
    add_size(options)
    options.add_argument("--engines", default=",".join(ENGINES), help="measured besides naive and auto")
    options.add_argument("--bundle", type=Path, default=None)
    options.add_argument("--device", default="auto")
    given = options.parse_args()
    volume = chest(given.slices, given.length, given.rows)
    engines = [Engine(name) for name in given.engines.split(",")]
    by_name = analyzers(given.bundle, resolve_device(given.device), engines)
    rounds: dict[str, list[tuple[float, float, dict[str, float]]]] = {name: [] for name in by_name}
    for _ in range(given.repeat):
        for name, analyzer in by_name.items():
            rounds[name].append(measure(analyzer, volume))
    medians = {name: statistics.median(wall for wall, _, _ in taken) for name, taken in rounds.items()}
    rows: list[dict[str, object]] = [
        {
            "networks by": name,
            "seconds": medians[name],
            "times_naive": medians["naive"] / medians[name],
            "cpu_seconds": statistics.median(cpu for _, cpu, _ in taken),
            **{stage: statistics.median(stages[stage] for _, _, stages in taken) for stage in taken[0][2]},
        }
        for name, taken in rounds.items()
    ]
    report("analysis", rows, slices=given.slices, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
