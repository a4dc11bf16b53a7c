"""Sections of a card on calibration, prediction sets and operating points."""

from __future__ import annotations

from typing import Any

from training.report.markdown import number, picture, table, within


def calibration_section(task: str, results: dict[str, Any]) -> list[str]:
    """Return the section on calibration: ECE, its floor and Brier score, reliability, temperatures, calibrators."""
    rows = []
    for name, own in results["calibration"].items():
        rows.append([name, within(own["ece"], own["ece_interval"]), within(own["floor"], own["floor_interval"]),
                     number(own["brier"])])  # fmt: skip
    after = results["calibration"]["after"]
    high = after["floor_interval"][1]
    judged = "lies within" if after["ece"] <= high else "lies above"
    lines = [
        "## Calibration",
        "",
        *table(["", "ECE", "floor of a perfect model of this n", "Brier"], rows),
        f"After calibration the ECE {judged} what chance gives a perfectly calibrated model of this size.",
        "",
        *picture(f"{task}_reliability.png", "reliability before and after calibration"),
    ]
    lines += temperature_section(results["bundle"])
    compared = results["bundle"]["calibration"].get("cross_validated_nll")
    if compared:
        rows = [[k.replace("_", " "), f"{v[0]:.4f} ± {v[1]:.4f}"] for k, v in compared.items()]
        lines += [
            "Calibrators compared by cross-validated log loss (mean, standard error). The plainest within one standard "
            "error of the best ships, none being the plainest: here "
            f"{results['bundle']['calibration']['kind']}.",
            "",
            *table(["calibrator", "log loss"], rows),
        ]
    return lines


def temperature_section(bundle: dict[str, Any]) -> list[str]:
    """Return the table of each network's temperature, and that of the combinations that were compared."""
    networks = bundle["calibration"].get("networks")
    if not networks:
        return []
    rows = [
        [own["network"], within(own["temperature"], own["interval"]),
         *(f"{number(own[f'{name}_before'])} → {number(own[name])}" for name in ("ece", "brier", "nll")),
         within(own["ece_floor"], own["ece_floor_interval"])]
        for own in networks
    ]  # fmt: skip
    candidates = bundle["combination"].get("candidates")
    compared = [
        [name, f"{nll:.4f} ± {error:.4f}"] for name, (nll, error) in (candidates or {"cross_validated_nll": {}})[
            "cross_validated_nll"
        ].items()
    ]  # fmt: skip
    return [
        "### Temperature",
        "",
        f"One temperature for each network, by L-BFGS on the log loss of {networks[0]['n']} samples that it had not "
        "seen (Guo et al. 2017). Below 1 the network was too cautious, above 1 too sure. Figures before and after are "
        "cross-fitted by patient; the interval is that of temperatures fitted to patients drawn with replacement.",
        "",
        *table(["network", "temperature", "ECE", "Brier", "log loss", "ECE floor"], rows),
        *(
            [
                f"Combinations compared by cross-fitted log loss; the plainest within one standard error of the best "
                f"answers: {candidates['chosen']}.",
                "",
                *table(["combination", "log loss"], compared),
            ]
            if candidates
            else []
        ),
    ]


def coverage_section(task: str, results: dict[str, Any]) -> list[str]:
    """Return the section on prediction sets."""
    own = results["coverage"]
    rows = [["all", within(own["coverage"], own["coverage_interval"])]]
    for name, value in own["coverage_by_class"].items():
        rows.append([name.replace("_", " "), within(value, own["coverage_by_class_interval"][name])])
    rows.append(["sets that name one class only", within(own["single_answers"], own["single_answers_interval"])])
    return [
        "## Prediction sets at 90 %",
        "",
        "Class-conditional split-conformal sets, thresholds from samples that were not trained on.",
        "",
        *table(["", "share"], rows),
        *picture(f"{task}_coverage.png", "coverage of the prediction sets by class"),
    ]


def operating_section(results: dict[str, Any]) -> list[str]:
    """Return the section on operating points."""
    rows = [
        [name.replace("_", " "), number(own["threshold"]),
         within(own["sensitivity"]["value"], own["sensitivity"]["interval"]),
         within(own["specificity"]["value"], own["specificity"]["interval"])]
        for name, own in results["operating_points"].items()
    ]  # fmt: skip
    return [
        "## Operating points",
        "",
        "Thresholds of the bundle, set on samples that were not trained on, and what they give here.",
        "",
        *table(["point", "threshold", "sensitivity", "specificity"], rows),
    ]
