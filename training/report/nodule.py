"""Sections of the nodule model's report card."""

from __future__ import annotations

from typing import Any

from training.report.markdown import number, percent, picture, table, within

SIZE_HEAD = ["", "n (malignant, patients)", "AUC", "readers' diameter", "automatic", "gain over readers' diameter",
             "Brier", "mean probability / observed"]  # fmt: skip


def nodule_sections(results: dict[str, Any]) -> list[str]:
    """Return the sections: subgroups, pathology, errors, distortions, explanations, density."""
    return [
        *_subgroups(results["subgroups"]),
        *_undecided(results["undecided"]),
        *_pathology(results["pathology"]),
        *_errors(results["samples"]),
        *_robustness(results["robustness"], results["bundle"]["sha256"]),
        *_explanations(results["explanations"]),
        *_density(results["density"]),
    ]


def _subgroups(results: dict[str, Any]) -> list[str]:
    lines = ["## Subgroups", "", *picture("nodule_subgroups.png", "AUC by subgroup with the diameters beside")]
    for kind, parts in results.items():
        lines += [f"### By {kind}", "", *table(SIZE_HEAD, size_rows(parts))]
    return lines


def size_rows(parts: dict[str, Any]) -> list[list[str]]:
    """Return a row for each size class: the model and both diameters."""
    return [
        [name, f"{p['n']} ({p['positives']}, {p['groups']})", within(p["auc"], p["auc_interval"]),
         number(p["reader_diameter_auc"]), number(p["automatic_diameter_auc"]), within(p["gain"], p["gain_interval"]),
         number(p["brier"]), f"{number(p['mean_probability'])} / {number(p['observed_share'])}"]
        for name, p in parts.items()
    ]  # fmt: skip


def submodel_sections(submodels: dict[str, Any], gap: dict[str, Any], joint: dict[str, Any]) -> list[str]:
    """Return the section on submodels and their disagreement."""
    head = ["answer", "AUC", "Brier", "ECE", "ECE floor", "log loss", "coverage", "of the classes", "single answers"]
    rows = [
        [name, within(own["auc"], own["auc_interval"]), within(own["brier"], own["brier_interval"]),
         number(own["ece"]), within(own["ece_floor"], own["ece_floor_interval"]), number(own["nll"]),
         number(own["coverage"]), ", ".join(number(v) for v in own["coverage_by_class"].values()),
         number(own["single_answers"])]
        for name, own in {"all together": joint, "planar (2D) alone": submodels["planar"],
                          "volumetric (3D) alone": submodels["volumetric"]}.items()
    ]  # fmt: skip
    lines = [
        "Each weighs the automatic measures too and has a combination, calibration, prediction sets and operating "
        "points of its own; `LUNGNODE_MODEL__VARIANT` chooses which answers.",
        "",
        *table(head, rows),
    ]
    apart, together = gap["apart"], gap["together"]
    if apart["n"] and together["n"]:
        lines += [
            f"2D and 3D lie more than {number(gap['above'])} apart for {apart['n']} nodules, a stated reason for doubt "
            f"with the finding: of these {percent(apart['wrong'])} of the joint answers are on the wrong side of 0.5 "
            f"(Brier {number(apart['brier'])}), of the other {together['n']} {percent(together['wrong'])} (Brier "
            f"{number(together['brier'])}).",
            "",
        ]
    return lines


def _undecided(results: dict[str, Any]) -> list[str]:
    lines = ["## Undecided nodules", ""]
    if not results["n"]:
        return [*lines, "None in this split.", ""]
    low, middle, high = results["quartiles"]
    return [
        *lines,
        f"A mean rating of exactly 3 has no right answer and is left out above. The {results['n']} of this split get a "
        f"mean probability of {number(results['mean_probability'])} (quartiles {number(low)}, {number(middle)}, "
        f"{number(high)}); {percent(results['share_above_half'])} lie above 0.5. Over all nodules the probability "
        f"correlates with the mean rating by {number(results['rating_correlation'])}.",
        "",
    ]


def _pathology(results: dict[str, Any] | None) -> list[str]:
    lines = ["## Against pathology", ""]
    if results is None or not results["n"]:
        return [*lines, "The data hold no diagnosis for a patient of this split.", ""]
    reader = results["reader_diameter"]
    return [
        *lines,
        f"Not the label: {results['n']} patients of this split have a diagnosis (biopsy, resection, progression or "
        f"two-year stability), {results['positives']} of them malignant. The highest probability among a patient's "
        "nodules:",
        "",
        *table(
            ["", "value"],
            [["AUC", within(results["auc"], results["auc_interval"])],
             ["AUC of the largest diameter by readers", within(reader["auc"], reader["auc_interval"])],
             ["agreement at 0.5", within(results["agreement"], results["agreement_interval"])],
             ["above 0.5 among malignant", number(results["above_half_if_malignant"])],
             ["above 0.5 among benign", number(results["above_half_if_benign"])]],
        ),
        "Mostly one diagnosis a patient, who may have other nodules; so few patients show no more than that nothing is "
        "grossly wrong.",
        "",
    ]  # fmt: skip


def _errors(samples: dict[str, Any]) -> list[str]:
    columns = ("label", "labelled", "after", "diameter_mm", "automatic_diameter_mm", "mean_rating")
    rows = [
        (abs(p - y), y, p, reader, automatic, rating)
        for y, is_labelled, p, reader, automatic, rating in zip(*(samples[c] for c in columns), strict=True)
        if is_labelled and (p >= 0.5) != bool(y)
    ]
    worst = sorted(rows, reverse=True)[:8]
    lines = [
        "## Errors",
        "",
        *picture("nodule_errors.png", "probability against diameter, nodules on the wrong side of 0.5 ringed"),
    ]
    if not rows:
        return [*lines, "No nodule lies on the wrong side of 0.5.", ""]
    return [
        *lines,
        f"{len(rows)} nodules lie on the wrong side of 0.5. The furthest:",
        "",
        *table(["rated", "mean rating", "probability", "diameter by readers, mm", "automatic, mm"],
               [["malignant" if y else "benign", f"{rating:.2f}", number(p), f"{reader:.1f}", f"{automatic:.1f}"]
                for _, y, p, reader, automatic, rating in worst]),
    ]  # fmt: skip


def _reasons(own: dict[str, Any]) -> str:
    return ", ".join(f"{code.replace('_', ' ')} {n}" for code, n in own["reasons"].items()) or "–"


def _robustness(results: dict[str, Any], sha256: str) -> list[str]:
    served, ungated = [], []
    for name, own in results["distortions"].items():
        served.append([name, percent(own["served"]["abstained"]), _reasons(own["served"]), *_answered(own["served"])])
        ungated.append([name, *_answered(own["alone"])])
    figures = ["AUC", "loss of AUC", "Brier", "ECE (floor)", "mean probability"]
    return [
        "## Robustness",
        "",
        f"The {results['n']} labelled nodules ({results['patients']} patients), distorted one thing at a time. "
        "The loss of "
        "AUC is against the undistorted, among nodules answered both times, with its interval by patient. "
        f"{results['turns']} rotations are averaged in every row, where 8 are served.",
        "",
        *_other_bundle(results.get("bundle_sha256", sha256), sha256),
        *picture("nodule_robustness.png", "AUC and share not answered by distortion"),
        "As served, to a reader's click: the centre refined by the segmentation, with abstention; figures are of those "
        "answered.",
        "",
        *table(["", "not answered", "why", *figures], served),
        "The model alone, at the very place that is pointed at, whatever the image: what would be said without the "
        "gate.",
        "",
        *table(["", *figures], ungated),
        *_empty(results["empty"]),
        *_wall(results.get("wall")),
    ]


def _answered(own: dict[str, Any]) -> list[str]:
    ece = f"{number(own.get('ece'))} ({number(own.get('ece_floor'))})"
    loss = within(own["auc_loss"], own["auc_loss_interval"])
    return [number(own.get("auc")), loss, number(own.get("brier")), ece, number(own.get("mean_probability"))]


def _empty(results: dict[str, Any] | None) -> list[str]:
    if results is None:
        return []
    return [
        f"**No nodule at the place.** {results['n']} random places in the air-filled lung of a series in which no "
        "reader "
        f"marked a nodule, pointed at as if there were one: {_withheld(results)}, median nodule probability "
        f"{number(results['median_nodule_probability'])}.",
        "",
    ]


def _other_bundle(measured: str, sha256: str) -> list[str]:
    """Return a warning if the distortions were measured with another bundle."""
    if measured == sha256:
        return []
    return [
        f"**Measured with the bundle `{measured[:12]}`, not with this one (`{sha256[:12]}`).** Where only the gate "
        "differs (ADR 0012 says what changed), the second table holds for this one too, and the first shows what an "
        "earlier gate let pass and refused.",
        "",
    ]


def _wall(results: dict[str, Any] | None) -> list[str]:
    if results is None:
        return []
    return [
        f"**Beside the lung.** {results['n']} random places in soft tissue of the same series, whatever the organ: "
        f"{_withheld(results)}.",
        "",
    ]


def _withheld(results: dict[str, Any]) -> str:
    if results["mean_probability"] is None:
        return f"none is answered ({_reasons(results)})"
    return (
        f"{percent(results['abstained'])} are not answered ({_reasons(results)}); "
        f"{percent(results['share_above_half'])} get a "
        f"malignancy above 0.5; mean probability of the rest {number(results['mean_probability'])}"
    )


def _explanations(results: dict[str, Any] | None) -> list[str]:
    if not results:
        return []
    rows = []
    for part, maps in results["shares"].items():
        for name, by_region in maps.items():
            rows.append([part, name, *(within(own["mean"], own["interval"]) for own in by_region.values())])
    shares = results["shares"]["all"]
    ratios = {
        name: shares[name]["nodule"]["mean"] / shares["uniform"]["nodule"]["mean"] for name in ("attention", "gradient")
    }
    return [
        "## Attention of the planar network",
        "",
        f"Mean share of each map in the lung, on the readers' outline of the nodule, and on it with a rim of 2 mm, in "
        f"the central slice of {results['n']} nodules ({results['patients']} patients), within the network's "
        "field of view. "
        "*Uniform* is the share of the area, what a map that knows nothing would have. *Attention* is the network's "
        "own spatial attention, *gradient* its integrated gradients from plain lung to the image.",
        "",
        *picture("nodule_explanations.png", "share of attention, gradient and uniform maps by region and size"),
        *table(["size", "map", "lung", "nodule", "nodule and rim"], rows),
        f"On the nodule the attention has {ratios['attention']:.1f} times the share of the area, the gradient map "
        f"{ratios['gradient']:.1f} times. Both say where the network looks, neither why it decides.",
        "",
    ]


def _density(results: dict[str, Any] | None) -> list[str]:
    lines = ["## Density class", ""]
    if results is None:
        return [*lines, "Not measured: the data hold no series without nodules.", ""]
    classes = ("solid", "part-solid", "ground-glass", "not measured")
    rows = []
    for diameter, own in results["by_diameter"].items():
        for name, counts in own["counts"].items():
            row_counts = [counts.get(c, 0) for c in classes]
            rows.append([diameter, name, *row_counts, number(own["median_diameter_error_mm"][name])])
    shares = ", ".join(f"{percent(own['accuracy'])} at {diameter}" for diameter, own in results["by_diameter"].items())
    return [
        *lines,
        f"The data hold no reader's word on density. Instead {results['n']} balls of known density and size, with "
        "blurred "
        f"borders, were blended into real lung at {results['places']} random places of a series without nodules, and "
        f"measured as the service does: {percent(results['accuracy'])} get the right class ({shares}). Balls are not "
        "nodules. Where a part-solid ball is measured far too small, only its core was found.",
        "",
        *table(["diameter", "true", *(f"called {c}" for c in classes), "median error of the diameter, mm"], rows),
    ]
