"""Builds the analysis processes of the live and the shadow model from the settings.

An analysis process imports this module: what only the worker needs is imported within the functions.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from db.database import Database
    from dicom_node.jobs.analysis_process import AnalysisPool, MakeAnalyzer
    from dicom_node.jobs.shadow import ShadowRuns
    from dicom_node.series.pipeline import Analyzer
    from dicom_node.storage.instance_store import InstanceStore
    from lungnode.adapters.live_model import LiveBundle, LivePool
    from lungnode.settings.analysis import ModelSettings
    from lungnode.settings.notices import LogSettings
    from lungnode.settings.service import Settings


def analyzer_maker(settings: Settings) -> MakeAnalyzer:
    """Return a function that loads the models in the calling process."""
    return partial(load_analyzer, settings.model, settings.log, settings.network_cache)


def load_analyzer(model: ModelSettings, log: LogSettings, cache: Path, promoted: LiveBundle | None = None) -> Analyzer:
    """Load the nodule models and configure logging, in an analysis process."""
    from inference.loading import load_nodule_analyzer
    from lungnode.logs import configure_logging

    configure_logging(log.level, log.format)
    over = None
    if promoted is not None:
        from lungnode.adapters.live_model import checked

        over = checked(promoted)
    return load_nodule_analyzer(model.bundle, model.device, model.engine, model.variant, over=over, cache=cache)


def load_candidate(model: ModelSettings, log: LogSettings, cache: Path) -> Analyzer:
    """Load the shadow model on one CPU thread, at the lowest priority and first in line for the OOM killer."""
    from inference.loading import load_nodule_analyzer
    from lungnode.logs import configure_logging

    configure_logging(log.level, log.format)
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    os.environ["OMP_NUM_THREADS"] = "1"  # of OpenVINO, and of torch, which is imported later
    over = model.shadow_bundle
    return load_nodule_analyzer(model.bundle, "cpu", model.engine, model.variant, over=over, cache=cache)


def build_shadow_runs(settings: Settings, database: Database, store: InstanceStore) -> ShadowRuns | None:
    """Build the runs of the shadow model on analysed series; None without a shadow model."""
    from dicom_node.jobs.analysis_process import AnalysisLimits, AnalysisProcess
    from dicom_node.jobs.shadow import ShadowRuns
    from lungnode.wiring.base import decode_limits

    if settings.model.shadow_bundle is None:
        return None
    limits = AnalysisLimits(decode_limits(settings), timeout_s=settings.worker.timeout_s)
    load = partial(load_candidate, settings.model, settings.log, settings.network_cache)
    return ShadowRuns(database, store.files.fetch, partial(AnalysisProcess, load, limits))


def build_live_pool(
    settings: Settings, database: Database, store: InstanceStore, make_analyzer: MakeAnalyzer
) -> LivePool:
    """Build the analysis pool of the live model; ``make_analyzer`` loads the one of the settings."""
    from lungnode.adapters.live_model import LivePool

    def maker(promoted: LiveBundle | None) -> MakeAnalyzer:
        load = partial(load_analyzer, settings.model, settings.log, settings.network_cache)
        return partial(load, promoted) if promoted else make_analyzer

    return LivePool(database, store.files, partial(build_pool, settings), maker)


def build_pool(settings: Settings, make_analyzer: MakeAnalyzer) -> AnalysisPool:
    """Build the analysis pool (not started)."""
    from dicom_node.jobs.analysis_process import AnalysisLimits, AnalysisPool
    from lungnode.wiring.base import decode_limits

    limits = AnalysisLimits(decode_limits(settings), timeout_s=settings.worker.timeout_s)
    return AnalysisPool(make_analyzer, limits, settings.worker.concurrency)
