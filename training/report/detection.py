"""Section of the filter's card about detection in whole series, by free-response ROC (``training.report.froc``)."""

from __future__ import annotations

from typing import Any

from training.report.markdown import number, table, within

KINDS = {"size": "diameter by readers", "attachment": "attachment", "density": "density", "series": "pasted into"}
POINT_RATE = "1.0"
"""Other findings a scan of the parts' column."""


def detection_section(bundle: dict[str, Any]) -> list[str]:
    """Return the section, empty where a bundle records no detection."""
    detection = bundle.get("detection")
    if not detection:
        return []
    inserted, point = detection["inserted"], detection["operating_point"]
    unseen = "Each series was judged by the network of the fold that had not seen it." if detection["by_fold"] else ""
    rates = [
        [f"{float(rate):g}", within(share, inserted["interval"][rate])]
        for rate, share in inserted["sensitivity"].items()
    ]
    return [
        "## Detection in whole series",
        "",
        f"Nodules of {inserted['patients']} patients of the split `{detection['split']}`, pasted {inserted['n']} times "
        f"into the {detection['scans']} series that readers read fully. {unseen} {detection['scans']} series are few: "
        "the rates of other findings say how the filter ranks, not what a hospital would see.",
        "",
        *table(["other findings a scan", "sensitivity (95 % interval, by patient)"], rates),
        f"Mean over these rates (CPM): {within(inserted['cpm'], inserted['cpm_interval'])}. At the threshold that "
        f"ships ({number(point['threshold'])}): {number(point['others_a_scan'])} other findings a scan, "
        f"{number(point['inserted_sensitivity'])} of the pasted nodules, and {point['marks_found']} of "
        f"{point['marks']} real ones that three or more readers, or the data set, mark in these series"
        f"{_interval(point['marks_interval'])}.",
        "",
        *table(["part", "", "n", "sensitivity at 1 other finding a scan", "CPM"], _part_rows(detection["parts"])),
    ]


def detection_line(bundle: dict[str, Any]) -> list[str]:
    """Return the line below the index' table that says how far the filter's AUC reaches."""
    detection = bundle.get("detection")
    if not detection:
        return []
    inserted = detection["inserted"]
    share = within(inserted["sensitivity"][POINT_RATE], inserted["interval"][POINT_RATE])
    return [
        "The AUC of *Nodule or not* is of chosen places. In whole series it finds "
        f"{share} of the pasted nodules at one other finding a scan: [detection](filter.md#detection-in-whole-series).",
        "",
    ]


def _interval(bounds: list[float] | None) -> str:
    return f" ({number(bounds[0])} to {number(bounds[1])})" if bounds else ""


def _part_rows(parts: dict[str, dict[str, Any]]) -> list[list[Any]]:
    return [
        [KINDS[kind], name, part["n"], within(part["sensitivity"][POINT_RATE], part["interval"][POINT_RATE]),
         number(part["cpm"])]
        for kind, named in parts.items() if kind in KINDS
        for name, part in named.items()
    ]  # fmt: skip
