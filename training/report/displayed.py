"""Section of the model report on displayed probabilities: evidence, coverage and sizes."""

from __future__ import annotations

from typing import Any

from training.report.markdown import number, percent, picture, table, within

HEAD = ["decile of the score", "n", "positive", "share (exact 95 % limits)", "mean score", "mean shown", "one-sided",
        "overlap"]  # fmt: skip
SIZE_HEAD = ["split", "diameter", "n (malignant)", "size-matched AUC", "separates"]
JUDGED = {True: "yes", False: "no", None: "too few to tell"}


def shown_sections(task: str, bundle: dict[str, Any], metrics: dict[str, Any]) -> list[str]:
    """Return the section: bounds, table by decile with plot, and separating size."""
    coverage, evidence = bundle.get("display_coverage"), bundle.get("evidence")
    if not coverage or not evidence:
        return []
    return [
        "## Displayed probability",
        "",
        "The point estimate orders and measures. People are shown the exact binomial limits of the "
        f"{evidence['neighbours']} patients (clusters) nearest in score, one case each, among {evidence['n']} cases of "
        f"{evidence['groups']} (`{evidence['split']}`); where a limit would read 0 % or 100 %, the one-sided 95 % "
        "limit of the other side. 32 of 34 reads > 82 %.",
        "",
        f"Nested by patient on `{coverage['split']}` (n = {coverage['n']}): the cases that bound a score hold none of "
        f"its patient. A decile fails where the limits of its share and the mean bounds do not overlap: "
        f"{coverage['failing']} of {len(coverage['deciles'])} do. The mean score alone differs from the share by up to "
        f"{percent(coverage['widest_point_gap'])}.",
        "",
        *table(HEAD, [_decile_row(i, row) for i, row in enumerate(coverage["deciles"], start=1)]),
        *picture(f"{task}_shown.png", "share of positives by decile of the score, beside the mean bounds shown"),
        *_corrected(evidence, metrics),
        *_sizes(bundle.get("separation")),
    ]


def _corrected(evidence: dict[str, Any], metrics: dict[str, Any]) -> list[str]:
    """Return a remark if the labels changed since the bundle's evaluation."""
    if evidence["split"] != metrics["split"] or evidence["n"] == metrics["n"]:
        return []
    return [f"Labels were corrected since the figures above were recorded (n = {metrics['n']}).", ""]


def _decile_row(index: int, row: dict[str, Any]) -> list[Any]:
    low, high = row["mean_shown"]
    return [index, row["n"], row["positives"], within(row["share"], row["limits"]), number(row["mean_point"]),
            f"{number(low)} to {number(high)}", row["censored"], "no" if row["fails"] else "yes"]  # fmt: skip


def _sizes(separation: dict[str, Any] | None) -> list[str]:
    if not separation:
        return []
    rows = [
        [split, f"{own['from_mm']:g} to {own['to_mm']:g} mm", f"{own['n']} ({own['malignant']})",
         within(own["auc"], own["auc_interval"]), JUDGED[own["separates"]]]
        for split, classes in separation["size_classes"].items()
        for own in classes
    ]  # fmt: skip
    return [
        "### Small nodules",
        "",
        "AUC over pairs of a malignant and a benign nodule within 1 mm of the same readers' diameter, limits by "
        "patient. A size class separates where the lower limit exceeds 0.5, and is judged where nodules of four "
        "patients of either label are in it. The evaluations differ, so the more cautious one speaks: below "
        f"{separation['from_mm']:g} mm no percentage is shown.",
        "",
        *table(SIZE_HEAD, rows),
    ]
