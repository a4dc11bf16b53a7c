"""Model cards: names, sources, intended use and limits of each shipped model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference.calibration.temperatures import network_temperatures

NAMES = {"nodule": "lungnode-nodule", "filter": "lungnode-filter", "slice": "lungnode-slice"}

ARCHITECTURE = {
    "nodule": "attention ResNet (planar, 224x224) and 3D residual networks (32 mm and 20 mm wide, two windows), "
    "each at its temperature",
    "filter": "3D residual network (24x24x24 over 28 mm, two windows)",
    "slice": "attention ResNet (planar, 224x224), the founding paper's recipe",
}

LIDC = {
    "source": "LIDC-IDRI nodule crops, TCIA, doi 10.7937/K9/TCIA.2015.LO9QL9SX",
    "licence": "CC BY 3.0",
    "citation": "Armato et al. 2011, Med Phys 38:915-931; Armato et al. 2015 (TCIA); Clark et al. 2013",
}
DATA_SOURCES: dict[str, dict[str, Any]] = {
    "nodule": {**LIDC, "label": "malignant if the readers' mean rating is above 3, benign if below; 3 left out"},
    "filter": {
        **LIDC,
        "label": "nodule: a crop's nodule, or one pasted into a fully read series; "
        "not: bright blobs beside nodules, and candidates and dense places of the fully read series",
    },
    "slice": {
        "source": "IQ-OTH/NCCD, Mendeley Data, doi 10.17632/bhmdr45bh2",
        "licence": "CC BY 4.0",
        "citation": "Alyasriy and Al-Huseiny",
        "label": "folder names; normal counts as benign, that is not malignant",
    },
}

INTENDED_USE = {
    "nodule": "second reader: probability that radiologists would rate a nodule malignant; never a diagnosis",
    "filter": "ranks candidates so that vessels are not shown as nodules; never a diagnosis",
    "slice": "reproduction of the founding paper for pictures that look like IQ-OTH/NCCD; education, never a diagnosis",
}

LIMITS: dict[str, list[str]] = {
    "nodule": [
        "The label is readers' opinion on CT, not pathology.",
        "A nodule is not a patient: the number says nothing about the rest of the lungs.",
        "Trained on one collection of US sites; other scanners, kernels and populations may differ.",
        "Validated for pixels of 0.4 to 1.0 mm, slices up to 3.5 mm apart and nodules of 3 to 40 mm.",
        "What is shown is bounded by calibration nodules with a similar score, as rated by radiologists.",
    ],
    "filter": [
        "What is no nodule comes from two sources only: blobs beside nodules, and three fully read series.",
        "Nodules touching vessels or the pleura may be missed; those under 6 mm and ground-glass ones often are.",
        "Its cases hold more nodules than a scan does: fewer of a scan's findings are nodules than is shown.",
    ],
    "slice": [
        "Its data are split by image similarity, since patients were never published: leakage cannot be excluded.",
        "Most training slices show a mediastinal window in which small nodules cannot be seen.",
        "It must never answer for a DICOM study, and does not.",
    ],
}


def _figures(metrics: dict[str, Any]) -> list[str]:
    lines = ["| figure | value |", "|---|---|"]
    for name, value in metrics.items():
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            continue
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        lines.append(f"| {name} | {shown} |")
    return lines


def _refused(parts: dict[str, Any]) -> list[str]:
    """Return lines about refused samples; the metrics above are of answered ones."""
    if not parts:
        return []
    lines = ["", "Not answered, by class, with exact 95 % limits; the figures above are of the others:", ""]
    lines += ["| class | pictures | refused | share |", "|---|---|---|---|"]
    for name, part in parts.items():
        low, high = part["share_interval"]
        lines.append(f"| {name} | {part['n']} | {part['refused']} | {low:.3f} to {high:.3f} |")
    return lines


def _engines(record: dict[str, Any]) -> list[str]:
    """Return lines about the engines (``training.engines``)."""
    caption = f"On the split `{record['split']}` (n = {record['n']}), beside {record['reference']['engine']}:"
    lines = [
        "",
        "## Engines",
        "",
        caption,
        "",
        "| engine | change of AUC | change of ECE | largest change of a probability |",
    ]
    lines.append("|---|---|---|---|")
    for name, figures in record["measured"].items():
        changes = (f"{figures[key]:+.4f}" for key in ("auc_change", "ece_change"))
        lines.append(f"| {name} | {' | '.join(changes)} | {figures['largest_change']:.4f} |")
    return lines


def write_card(folder: Path, recipe: dict[str, Any]) -> None:
    """Write ``MODEL_CARD.md`` from the recipe."""
    data = recipe["training_data"]
    calibration = recipe["calibration"]
    temperatures = ", ".join(f"{name} {value:.3f}" for name, value in network_temperatures(recipe).items())
    lines = [
        f"# {recipe['name']} {recipe['version']}",
        "",
        f"{recipe['intended_use'].capitalize()}.",
        "",
        f"* Architecture: {recipe['architecture']}.",
        f"* Classes: {', '.join(recipe['classes'])}.",
        f"* Weights: sha256 `{recipe['weights_sha256']}`.",
        f"* Data: {data['source']} ({data['licence']}); cite {data['citation']}.",
        f"* Label: {data['label']}.",
        f"* Trained on {data['samples']} samples, seed {data['seed']}, split sha256 `{data['split_sha256']}`.",
        f"* Temperature that divides the logits: {temperatures}; calibrator on top: {calibration['kind']}."
        f" Fitted on {calibration['n']} samples of unseen patients.",
        "",
        "## Limits",
        "",
        *[f"* {limit}" for limit in recipe["limits"]],
        "",
        "## Measured",
        "",
    ]
    if "site" in recipe:
        lines += [f"On {recipe['metrics']['split']}; nothing but calibration and thresholds was fitted there:", ""]
        lines += _figures(recipe["metrics"])
    elif recipe["metrics"]:
        lines += [f"On the split `{recipe['metrics'].get('split', '')}`, never trained, tuned or calibrated on:", ""]
        lines += _figures(recipe["metrics"])
        lines += _refused(recipe["metrics"].get("refused", {}))
    else:
        lines.append("Not yet measured on a held-out split.")
    if "engines" in recipe:
        lines += _engines(recipe["engines"])
    (folder / "MODEL_CARD.md").write_text("\n".join(lines) + "\n")
