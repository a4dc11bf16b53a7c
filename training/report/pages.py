"""Pages of the model report: an index and a card for each task."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.report.calibration import calibration_section, coverage_section, operating_section
from training.report.detection import detection_line, detection_section
from training.report.displayed import shown_sections
from training.report.markdown import number, picture, table, within
from training.report.nodule import SIZE_HEAD, nodule_sections, size_rows, submodel_sections

TITLES = {
    "nodule": "Malignancy of a nodule",
    "filter": "Nodule or not",
    "slice": "Whole pictures, the founding paper's task",
}
METRICS = {
    "auc": "AUC",
    "accuracy": "accuracy at 0.5",
    "sensitivity": "sensitivity at 0.5",
    "specificity": "specificity at 0.5",
    "precision": "precision at 0.5",
    "f1": "F1 at 0.5",
    "ece_before": "ECE before calibration",
    "ece": "ECE",
    "ece_floor": "ECE that a perfectly calibrated model of this n shows",
    "brier_before": "Brier score before calibration",
    "brier": "Brier score",
    "nll_before": "log loss before calibration",
    "nll": "log loss",
    "coverage": "prediction sets that hold the truth",
    "single_answers": "prediction sets of one class",
}
"""Display names of recorded metrics."""
GAINS = {
    "gain_over_diameter_interval": "the readers' diameter",
    "gain_over_measured_interval": "the automatic diameter",
}
SKIPPED = {"task", "split", "n", "positives", "groups", "subgroups", "opinions", "disagreement", "by_size"}
UNITS = {"nodule": "nodules", "filter": "places", "slice": "pictures"}
GROUPS = {"nodule": "patients", "filter": "patients", "slice": "clusters"}


def write_pages(out: Path, figures: dict[str, Any]) -> None:
    """Write every page into ``out``."""
    for name, text in pages(figures).items():
        (out / name).write_text(text, encoding="utf-8")


def pages(figures: dict[str, Any]) -> dict[str, str]:
    """Return the text of each page by file name."""
    cards = {f"{task}.md": _text(_card(task, figures)) for task in TITLES}
    return {"README.md": _text(_index(figures)), **cards}


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).strip() + "\n"


def _index(figures: dict[str, Any]) -> list[str]:
    rows = []
    for task, title in TITLES.items():
        results = figures[task]
        metrics, first = results["metrics"], next(iter(results["baselines"].items()))
        rows.append(
            [f"[{title}]({task}.md)", metrics["n"], within(metrics["auc"], metrics["auc_interval"]),
             f"{first[0]}: {number(first[1]['auc'])}", within(metrics["ece"], metrics.get("ece_interval")),
             number(metrics["ece_floor"]), number(metrics["brier"])]
        )  # fmt: skip
    head = ["card", "n", "AUC (95 % interval)", "AUC without a network", "ECE (95 % interval)", "ECE floor", "Brier"]
    digests = [[task, figures[task]["bundle"]["version"], f"`{figures[task]['bundle']['sha256']}`"] for task in TITLES]
    return [
        "# Model report",
        "",
        f"Measured on the split `{figures['split']}` of the research data, on which nothing was trained, tuned or "
        "calibrated. Research only, no diagnosis: see the limits at the end of each card.",
        "",
        *table(head, rows),
        *detection_line(figures["filter"]["bundle"]),
        "## Reading the figures",
        "",
        "* Intervals are 95 % percentile intervals of a bootstrap that draws whole patients (clusters for pictures). "
        "They say how far chance in this sample reaches, not what another hospital would see.",
        "* Every AUC stands beside what needs no network. A gain whose interval includes 0 is no gain shown.",
        "* ECE (15 bins of the predicted class' confidence) is never 0 in a finite sample: the floor is what a "
        "perfectly calibrated model with the same probabilities would show. Only what lies above it is miscalibration.",
        "* Subgroups are small. Read n and the interval before the figure.",
        "* `figures.json` holds all of it as numbers; cards and plots are drawn from that file alone, and a test "
        "compares it with what `/model_status` and `/model` show. Plots never show a patient's pixels.",
        "",
        "## Reproduction",
        "",
        "`DIR` is a folder of the layout that [docs/data.md](../data.md) describes.",
        "",
        "```sh",
        f"python -m training.evaluate --data DIR --split {figures['split']} --task nodule --record  # filter, slice",
        f"python -m training.report   --data DIR --split {figures['split']} --out docs/model",
        "python -m training.report   --render --out docs/model   # cards and plots anew, from figures.json",
        "```",
        "",
        f"Code at commit `{figures['commit']}`. Digests of recipe and weights, as `/model_status` shows them:",
        "",
        *table(["bundle", "version", "sha256"], digests),
    ]


def _card(task: str, figures: dict[str, Any]) -> list[str]:
    results, split = figures[task], figures["split"]
    bundle, metrics = results["bundle"], results["metrics"]
    return [
        f"# {TITLES[task]}: {bundle['name']} {bundle['version']}",
        "",
        f"{bundle['intended_use'][:1].upper()}{bundle['intended_use'][1:]}.",
        "",
        *_model(bundle),
        *_data(task, results),
        "## Measured",
        "",
        f"Split `{split}`: {metrics['n']} {UNITS[task]} of {metrics['groups']} {GROUPS[task]}, {metrics['positives']} "
        "of the positive class.",
        "",
        *table(["figure", "value"], _metric_rows(metrics)),
        *_cross_validated(bundle["calibration"].get("cross_validated")),
        *_seeds(results.get("seeds")),
        *_submodels(metrics),
        *_nested(metrics),
        *picture(f"{task}_roc.png", "ROC of the model with its 95 % band, and of baselines"),
        *_baselines(results),
        *detection_section(bundle),
        *_networks(results),
        *calibration_section(task, results),
        *shown_sections(task, bundle, metrics),
        *coverage_section(task, results),
        *operating_section(results),
        *picture(f"{task}_histogram.png", "calibrated probabilities of both classes"),
        *(nodule_sections(results) if task == "nodule" else []),
        *_refused(metrics),
        "## Limits",
        "",
        *[f"* {limit}" for limit in bundle["limits"]],
    ]  # fmt: skip


def _refused(metrics: dict[str, Any]) -> list[str]:
    """Return lines about images that the gate refuses."""
    if "refused" not in metrics:
        return []
    rows = [
        [name, str(part["n"]), str(part["refused"]), within(part["refused"] / part["n"], part["share_interval"])]
        for name, part in metrics["refused"].items()
    ]
    return ["## Refused", "", *table(["class", "pictures", "refused", "share"], rows)]


def _model(bundle: dict[str, Any]) -> list[str]:
    calibration = bundle["calibration"]
    kind, n = calibration["kind"].replace("_", " "), calibration["n"]
    networks = calibration.get("networks", ())
    scaled = "The logits of each network are divided by its temperature before they are combined. " if networks else ""
    temperature = number(calibration["parameters"].get("temperature"))
    calibrated = scaled + (
        f"No calibrator on top: on {n} samples that the networks had not seen, none did better."
        if kind == "none"
        else f"Calibrated{' on top' if networks else ''} by {kind} (temperature {temperature}), fitted on {n} samples "
        "that the networks had not seen."
    )
    return [
        f"* {bundle['architecture'][:1].upper()}{bundle['architecture'][1:]}. Classes: {', '.join(bundle['classes'])}.",
        f"* {calibrated}",
        f"* Digest `{bundle['sha256']}`, weights `{bundle['weights_sha256']}`.",
        "",
    ]


def _data(task: str, results: dict[str, Any]) -> list[str]:
    data = results["bundle"]["training_data"]
    trained = ", ".join(f"{data[k]} {k}" for k in ("samples", "patients", "clusters") if k in data)
    folds = f", {data['folds']} folds" if data.get("folds") else ""
    lines = [
        "## Data",
        "",
        f"{data['source']} ({data['licence']}); cite {data['citation']}. Label: {data['label']}. Trained on {trained}, "
        f"seed {data['seed']}{folds}; split sha256 `{data['split_sha256']}`.",
        "",
    ]
    splits = results.get("splits")
    if splits:
        head = list(next(iter(splits.values())))
        words = [name.replace("_", " ") for name in head]
        rows = [[f"`{name}`", *(f"{v:.1f}" if isinstance(v, float) else v for v in (row[h] for h in head))]
                for name, row in splits.items()]  # fmt: skip
        lines += table(["split", *words], rows)
        lines += [f"Splits share no {'patient' if task == 'nodule' else 'cluster'}; the training command refuses one "
                  "that does.", ""]  # fmt: skip
    return lines


def _metric_rows(metrics: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, value in metrics.items():
        if name in SKIPPED or isinstance(value, (dict, list)) or name.endswith("_interval"):
            continue
        rows.append([METRICS.get(name, name.replace("_", " ")), within(value, metrics.get(f"{name}_interval"))])
    for name, words in GAINS.items():
        if metrics.get(name):
            low, high = metrics[name]
            rows.append([f"gain of AUC over {words}, 95 % interval", f"{number(low)} to {number(high)}"])
    return rows


def _nested(metrics: dict[str, Any]) -> list[str]:
    """Return lines about nested metrics: single-slice answer, seeds, folds."""
    lines = []
    for name, part in metrics.items():
        if isinstance(part, dict) and name not in SKIPPED | {"coverage_by_class"} and _metric_rows(part):
            lines += [f"### {name.replace('_', ' ').capitalize()}", "", *table(["figure", "value"], _metric_rows(part))]
    return lines


def _cross_validated(results: dict[str, Any] | None) -> list[str]:
    """Return the section on cross-fitted metrics of the calibration samples."""
    if not results:
        return []
    return [
        "### Cross-validation on the training patients",
        "",
        f"{results['n']} samples of {results['groups']} groups, {results['positives']} of the positive class: "
        "each judged by "
        "networks, a combination and a calibrator that had not seen its patient. The networks that ship have seen all "
        "of them.",
        "",
        *table(["figure", "value"], _metric_rows(results)),
        *(["By size:", "", *table(SIZE_HEAD, size_rows(results["by_size"]))] if "by_size" in results else []),
        *_submodels(results),
    ]


def _submodels(results: dict[str, Any]) -> list[str]:
    """Return the section on submodels, if the bundle has any."""
    if not results.get("opinions"):
        return []
    head = ["#### Submodels: 2D and 3D", ""]
    return [*head, *submodel_sections(results["opinions"], results["disagreement"], results)]


def _seeds(results: list[dict[str, Any]] | None) -> list[str]:
    """The same recipe trained with other seeds, on the same split."""
    if not results:
        return []
    rows = [
        [own["seed"], within(own["auc"], own["auc_interval"]), number(own["accuracy"]), number(own["ece_before"]),
         within(own["ece"], own["ece_interval"]), within(own["ece_floor"], own["ece_floor_interval"]),
         number(own["brier_before"]), number(own["brier"])]
        for own in results
    ]  # fmt: skip
    means = ["mean", *(number(sum(own[name] for own in results) / len(results)) for name in
                       ("auc", "accuracy", "ece_before", "ece", "ece_floor", "brier_before", "brier"))]  # fmt: skip
    head = ["seed", "AUC", "accuracy", "ECE before", "ECE", "ECE floor", "Brier before", "Brier"]
    return ["### Variation over seeds", "", "The first one ships.", "", *table(head, [*rows, means])]


def _networks(results: dict[str, Any]) -> list[str]:
    """Return the tables of each network's AUC and of the weights of the combination."""
    by_network, combined = results["metrics"].get("networks"), results["bundle"]["combination"]
    lines = []
    if by_network:
        rows = [[name, within(own["auc"], own["auc_interval"])] for name, own in by_network.items()]
        lines += ["### Each network alone", "", *table(["network", "AUC"], rows)]
    if len(combined.get("weights", ())) > 1:
        names = [*combined["groups"], *(name.replace("_", " ") for name in combined["features"])]
        rows = [[name, f"{weight:+.2f}"] for name, weight in zip(names, combined["weights"], strict=True)]
        lines += [
            "### Weights of the combination",
            "",
            "Weights of a ridge logistic regression on standardised columns: the networks' margins and what is "
            "measured automatically. Fitted on samples that the networks had not seen.",
            "",
            *table(["column", "weight"], rows),
        ]
    return lines


def _baselines(results: dict[str, Any]) -> list[str]:
    metrics = results["metrics"]
    rows = [["the model", within(metrics["auc"], metrics["auc_interval"]), ""]]
    for name, own in results["baselines"].items():
        rows.append([name, within(own["auc"], own["auc_interval"]), within(own["gain"], own["gain_interval"])])
    unshown = [
        n for n, own in results["baselines"].items() if own["gain_interval"][0] is None or own["gain_interval"][0] <= 0
    ]
    words = (
        f"Not shown to be better than {' or '.join(unshown)} on this split: the interval of the gain includes 0."
        if unshown
        else "The gain over each baseline has an interval above 0."
    )
    return ["## Baselines without a network", "", *table(["", "AUC", "gain of the model"], rows), words, ""]
