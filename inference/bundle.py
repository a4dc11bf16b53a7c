"""Model bundles: a folder with weights (safetensors), the recipe (``bundle.json``), plots and a model card.

Loading checks the digest of the weights and never unpickles. Describing a bundle (``describe_bundle``) needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.errors import BundleError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FORMAT = 1
TASKS = ("nodule", "filter", "slice")
BUFFERS = (".running_mean", ".running_var", ".num_batches_tracked")
"""Suffixes of tensors that are state of batch normalisation, not trained."""
SHIPPED = Path(__file__).parent / "weights"
"""Folder of the bundles shipped with the package, one per task."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle: the recipe and the digest of its checked weights.

    ``recipe`` is ``bundle.json`` as it stands; ``weights`` are float32 on the CPU, named ``member.parameter``, and
    empty in a described bundle.
    """

    folder: Path
    recipe: dict[str, Any]
    weights: dict[str, Tensor]

    @property
    def task(self) -> str:
        """``nodule``, ``filter`` or ``slice``."""
        return str(self.recipe["task"])

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.recipe["name"])

    @property
    def version(self) -> str:
        """Version of the model."""
        return str(self.recipe["version"])

    @property
    def sha256(self) -> str:
        """SHA-256 of the recipe and the weights."""
        return recipe_digest(self.recipe)

    def members(self, device: torch.device | str) -> list[tuple[dict[str, Any], nn.Module]]:
        """Return each network of the ensemble with its description, in evaluation mode on ``device``.

        Raises
        ------
        BundleError
            The weights do not fit, or those of a described bundle cannot be read or have changed since.
        """
        loaded, weights = [], self.weights or self._read_weights()
        for member in self.recipe["members"]:
            network = build_network(member)
            prefix = member["prefix"] + "."
            state = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            try:
                network.load_state_dict(state)
            except RuntimeError as error:
                raise BundleError("the weights do not fit the architecture that bundle.json names") from error
            loaded.append((member, network.eval().to(device)))
        return loaded

    def _read_weights(self) -> dict[str, Tensor]:
        present = read_bundle(self.folder)
        if present.recipe["weights_sha256"] != self.recipe["weights_sha256"]:
            raise BundleError(f"the bundle in {self.folder} was replaced while in use: restart the service")
        return present.weights


def build_network(member: dict[str, Any]) -> nn.Module:
    """Return the untrained network of a member's description."""
    from inference.networks.planar import PRESETS, AttentionResNet
    from inference.networks.volumetric import VolumetricResNet

    if member["kind"] == "planar":
        return AttentionResNet(
            PRESETS[member["preset"]],
            num_classes=member.get("num_classes", 2),
            in_channels=member["in_channels"],
            dropout=member.get("dropout", 0.0),
        )
    if member["kind"] == "volumetric":
        return VolumetricResNet(
            tuple(member["widths"]), num_classes=member.get("num_classes", 2), in_channels=member["in_channels"]
        )
    raise BundleError(f"bundle.json names an unknown kind of network: {member['kind']!r}")


ANSWERING_KEYS = ("task", "name", "version", "classes", "members", "combination", "calibration", "conformal", "gate",
                  "operating_points", "single_slice", "opinion", "opinions", "evidence", "separation",
                  "weights_sha256", "attributes")  # fmt: skip
"""The parts of a recipe that an answer depends on; plots and metrics do not change the model's identity."""


def recipe_digest(recipe: dict[str, Any]) -> str:
    """Return the SHA-256 of the recipe parts that an answer depends on, including the weights' digest."""
    answering = {key: recipe[key] for key in ANSWERING_KEYS if key in recipe}
    return hashlib.sha256(json.dumps(answering, sort_keys=True).encode()).hexdigest()


def describe_bundle(folder: Path) -> Bundle:
    """Read a bundle without loading its weights; only their digest is checked.

    Raises
    ------
    BundleError
        A file is missing, invalid or altered.
    """
    recipe, _ = _read_files(folder)
    return Bundle(folder, recipe, {})


def parameter_count(bundle: Bundle) -> int:
    """Return the number of trainable parameters, from the header of the weights file.

    Raises
    ------
    BundleError
        The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    prefixes = tuple(member["prefix"] + "." for member in bundle.recipe["members"])
    try:
        with safe_open(bundle.folder / "model.safetensors", framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefixes) and not name.endswith(BUFFERS)]  # noqa: SIM118 - not a mapping
            return sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"the weights in {bundle.folder} cannot be read") from error


def _read_files(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Read recipe and weights, and check format and digest."""
    try:
        recipe = json.loads((folder / "bundle.json").read_text())
        content = (folder / "model.safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise BundleError(f"no readable model bundle in {folder}: needs bundle.json and model.safetensors") from error
    if not isinstance(recipe, dict) or recipe.get("format") != FORMAT:
        raise BundleError(f"bundle.json in {folder} is not of format {FORMAT}")
    if hashlib.sha256(content).hexdigest() != recipe.get("weights_sha256"):
        raise BundleError(f"the weights in {folder} are not those that bundle.json was written for (sha256 differs)")
    return recipe, content


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check its weights' digest.

    Raises
    ------
    BundleError
        A file is missing, invalid or altered.
    """
    import torch
    from safetensors.torch import load as load_safetensors

    recipe, content = _read_files(folder)
    try:
        weights = {name: tensor.float() for name, tensor in load_safetensors(content).items()}
    except Exception as error:
        raise BundleError(f"the weights in {folder} cannot be read") from error
    if not all(bool(torch.isfinite(t).all()) for t in weights.values()):
        raise BundleError(f"the weights in {folder} hold values that are not finite")
    return Bundle(folder, recipe, weights)


def write_weights(folder: Path, networks: dict[str, nn.Module]) -> str:
    """Write all networks as float16 under their prefixes, and return the file's SHA-256."""
    from safetensors.torch import save as save_safetensors

    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for prefix, network in networks.items():
        for name, value in network.state_dict().items():
            tensor = value.half() if value.is_floating_point() and value.numel() > 1 else value
            tensors[f"{prefix}.{name}"] = tensor.cpu().contiguous()
    content = save_safetensors(tensors)
    (folder / "model.safetensors").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def write_recipe(folder: Path, recipe: dict[str, Any]) -> None:
    """Write ``bundle.json``, indented."""
    (folder / "bundle.json").write_text(json.dumps({"format": FORMAT, **recipe}, indent=1, sort_keys=False) + "\n")


def bundle_folders(*bundles: Path | None) -> dict[str, Path]:
    """Return the bundle folder of each task: from ``bundles`` (bundles or folders of them), else the shipped ones.

    Of several for one task the last one counts.
    """
    folders = {task: SHIPPED / task for task in TASKS}
    for bundle in bundles:
        folders |= _own_folders(bundle) if bundle is not None else {}
    return folders


def _own_folders(bundle: Path) -> dict[str, Path]:
    if (bundle / "bundle.json").is_file():
        return {describe_bundle(bundle).task: bundle}
    own = {task: bundle / task for task in TASKS if (bundle / task / "bundle.json").is_file()}
    if not own:
        raise BundleError(f"{bundle} holds no bundle.json, nor folders nodule, filter or slice with one")
    return own
