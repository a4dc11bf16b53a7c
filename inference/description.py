"""Descriptions of the models, read from their bundles without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from inference.bundle import Bundle, bundle_folders, describe_bundle, parameter_count
from inference.calibration.temperatures import answer_temperature, network_temperatures
from inference.engines.selection import Engine, answering_digest, choose_engine
from inference.errors import BundleError
from inference.gate import FilterThresholds, GateThresholds, PictureThresholds, read_gate
from inference.malignancy.submodels import Variant, answering
from inference.types import ModelStatus

PLOTS = ("reliability_before", "reliability_after", "roc", "histogram")
NVIDIA_DRIVER = Path("/dev/nvidiactl")
"""Present wherever a process can reach an NVIDIA GPU."""


@dataclass(frozen=True, slots=True)
class ModelsDescription:
    """The models of a service: the identity that findings are recorded under, and the status of each.

    Parameters
    ----------
    name, version, sha256
        Identity of the nodule model with its filter.
    statuses
        One for each model.
    plots
        PNG files by model name, then by name of the plot.
    """

    name: str
    version: str
    sha256: str
    statuses: tuple[ModelStatus, ...]
    plots: Mapping[str, Mapping[str, bytes]]

    def status(self) -> dict[str, object]:
        """Return the fields of the nodule model and the identity as JSON values, and all models in ``models``."""
        models = [asdict(status) for status in self.statuses]
        nodule = next(status for status in models if status["task"] == "nodule")
        identity = {"name": self.name, "version": self.version, "sha256": self.sha256}
        return {**nodule, **identity, "models": models}


def describe_models(
    bundle: Path | None, device: str, engine: str = "auto", variant: str = Variant.ENSEMBLE, *, over: Path | None = None
) -> ModelsDescription:
    """Describe what ``inference.loading.load_models`` would load with the same arguments.

    Raises
    ------
    BundleError
        As there, but for weights that cannot be read although their digest is right.
    """
    bundles = {task: describe_bundle(folder) for task, folder in bundle_folders(bundle, over).items()}
    return description_of(checked_bundles(bundles, variant), engine, device_name(device))


def checked_bundles(bundles: Mapping[str, Bundle], variant: str) -> dict[str, Bundle]:
    """Check that each bundle is for its task and has a valid gate, and apply ``variant`` to the nodule bundle.

    Raises
    ------
    BundleError
        A bundle is for another task, has an invalid gate, or has no calibration for that variant.
    """
    for task, bundle in bundles.items():
        if bundle.task != task:
            raise BundleError(f"the bundle in {bundle.folder} is for {bundle.task!r}, not {task!r}")
    read_gate(bundles["nodule"].recipe, GateThresholds)
    read_gate(bundles["filter"].recipe, FilterThresholds)
    read_gate(bundles["slice"].recipe, PictureThresholds)
    return {**bundles, "nodule": answering(bundles["nodule"], variant)}


def description_of(bundles: Mapping[str, Bundle], engine: str, device: str) -> ModelsDescription:
    """Describe checked bundles on a device (``cpu``, ``cuda:0``)."""
    nodule = bundles["nodule"]
    device_type = device.partition(":")[0]
    engines = {task: choose_engine(engine, bundles[task], device_type) for task in ("nodule", "filter")}
    engines["slice"] = Engine.TORCH_FLOAT32
    digests = {task: answering_digest(engines[task], bundle) for task, bundle in bundles.items()}
    statuses = tuple(
        _status(bundles[task], digests[task], device, engines[task]) for task in ("nodule", "filter", "slice")
    )
    plots = {bundle.name: _plots(bundle.folder) for bundle in bundles.values()}
    sha256 = joint_digest(digests["nodule"], digests["filter"])
    return ModelsDescription(nodule.name, nodule.version, sha256, statuses, plots)


def device_name(setting: str) -> str:
    """Return the device of a setting; torch is imported only on machines with an NVIDIA GPU."""
    if setting == "cpu" or (setting == "auto" and not NVIDIA_DRIVER.exists()):
        return "cpu"
    from inference.devices import resolve_device

    return str(resolve_device(setting))


def joint_digest(nodule_sha256: str, filter_sha256: str) -> str:
    """Return the joint digest of nodule model and filter, as findings record it."""
    return hashlib.sha256(f"{nodule_sha256}{filter_sha256}".encode()).hexdigest()


def _plots(folder: Path) -> dict[str, bytes]:
    files = {name: folder / f"{name}.png" for name in PLOTS}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file()}


def _status(bundle: Bundle, sha256: str, device: str, engine: Engine) -> ModelStatus:
    recipe = bundle.recipe
    return ModelStatus(
        task=bundle.task,
        name=bundle.name,
        version=bundle.version,
        sha256=sha256,
        architecture=str(recipe["architecture"]),
        device=device,
        engine=str(engine),
        parameter_count=parameter_count(bundle),
        input_shape=tuple(recipe["input_shape"]),
        classes=tuple(recipe["classes"]),
        temperature=answer_temperature(recipe),
        temperatures=network_temperatures(recipe),
        calibration=str(recipe["calibration"]["kind"]),
        metrics=dict(recipe["metrics"]),
        training_data=dict(recipe["training_data"]),
        intended_use=str(recipe["intended_use"]),
        limits=tuple(recipe["limits"]),
    )
