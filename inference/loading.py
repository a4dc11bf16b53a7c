"""Loading of all models of a service from their bundles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.bundle import Bundle, bundle_folders, describe_bundle, read_bundle
from inference.description import ModelsDescription, checked_bundles, description_of, device_name
from inference.engines.cache import NetworkCache
from inference.engines.selection import choose_engine
from inference.malignancy.ensemble import Ensemble
from inference.malignancy.submodels import Variant
from inference.predictor import NoduleAnalyzer

if TYPE_CHECKING:
    from inference.slices.slice_classifier import SliceClassifier


@dataclass(frozen=True, slots=True)
class Models:
    """All loaded models of a service."""

    nodule: NoduleAnalyzer
    slice: SliceClassifier
    description: ModelsDescription


def load_models(
    bundle: Path | None,
    device: str,
    engine: str = "auto",
    variant: str = Variant.ENSEMBLE,
    *,
    over: Path | None = None,
    cache: Path | None = None,
) -> Models:
    """Load and check every model.

    Parameters
    ----------
    bundle
        See ``bundle_folders``.
    device
        ``auto``, ``cpu`` or ``cuda``.
    engine
        Engine of the nodule and filter networks, see ``choose_engine``; the slice model always runs in float32.
    variant
        Variant of the nodule networks, see ``inference.malignancy.submodels``.
    over
        A bundle that replaces the one of its task.
    cache
        Folder for converted networks, see ``NetworkCache``; they are converted at each call where it is None.

    Raises
    ------
    BundleError
        A bundle is missing, altered or for another task, or device or engine is unavailable.
    """
    from inference.slices.slice_classifier import SliceClassifier

    where = device_name(device)
    bundles = _described(bundle, over, variant)
    nodule = _nodule_analyzer(bundles, where, engine, cache)
    slices = SliceClassifier(read_bundle(bundles["slice"].folder), where)
    return Models(nodule, slices, description_of(bundles, engine, where))


def load_nodule_analyzer(
    bundle: Path | None,
    device: str,
    engine: str = "auto",
    variant: str = Variant.ENSEMBLE,
    *,
    over: Path | None = None,
    cache: Path | None = None,
) -> NoduleAnalyzer:
    """Load the models of ``load_models`` that answer for series, and check the others.

    Where OpenVINO answers and the cache holds the converted networks, torch is imported with the first finding, whose
    attention map needs it.

    Raises
    ------
    BundleError
        As ``load_models``.
    """
    return _nodule_analyzer(_described(bundle, over, variant), device_name(device), engine, cache)


def _described(bundle: Path | None, over: Path | None, variant: str) -> dict[str, Bundle]:
    described = {task: describe_bundle(folder) for task, folder in bundle_folders(bundle, over).items()}
    return checked_bundles(described, variant)


def _nodule_analyzer(bundles: dict[str, Bundle], device: str, engine: str, cache: Path | None) -> NoduleAnalyzer:
    networks = NetworkCache(cache) if cache is not None else None
    nodule, nodule_filter = (
        Ensemble(
            bundles[task],
            device,
            engine=choose_engine(engine, bundles[task], device.partition(":")[0]),
            cache=networks,
        )
        for task in ("nodule", "filter")
    )
    return NoduleAnalyzer(nodule, nodule_filter)
