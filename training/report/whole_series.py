"""``python -m training.report.whole_series --data DIR``: what the whole chain finds in series with readers' marks.

Reads every series of ``lidc_idri_dicom`` (a folder or tar archive each) and ``annotations_by_reader.csv``: one row per
reader and nodule. A series without a row has no marked nodule, which is not the same as no nodule. Prints one JSON
object last.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.errors import BundleError
from inference.loading import load_models
from inference.metrics import plain
from inference.predictor import NoduleAnalyzer
from inference.types import CtVolume, NoduleFinding
from training.data.nodules import DataError
from training.data.series_io import read_scan


@dataclass(frozen=True, slots=True)
class Mark:
    """One nodule as its readers saw it: where (row and column in pixels, z in mm) and how wide."""

    column: float
    row: float
    z_mm: float
    diameter_px: float
    readers: int
    mean_malignancy: float


def read_marks(data: Path) -> dict[str, list[Mark]]:
    """Marks by patient; readers' rows whose centres lie within a radius of each other are one nodule."""
    nodules_by_patient: dict[str, list[list[dict[str, str]]]] = defaultdict(list)
    with (data / "lidc_idri_dicom" / "annotations_by_reader.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            nodules = nodules_by_patient[line["patient_id"]]
            same = next((n for n in nodules if _is_same(n[0], line)), None)
            if same is None:
                nodules.append([line])
            else:
                same.append(line)
    return {patient: [_mark(lines) for lines in nodules] for patient, nodules in nodules_by_patient.items()}


def _is_same(a: dict[str, str], b: dict[str, str]) -> bool:
    """Return True if two readers' outlines share slices and the centres lie within a diameter of each other."""
    shares_slices = float(a["z_min_mm"]) <= float(b["z_max_mm"]) and float(b["z_min_mm"]) <= float(a["z_max_mm"])
    columns, rows = (float(a[name]) - float(b[name]) for name in ("centre_col_x", "centre_row_y"))
    return shares_slices and (columns**2 + rows**2) ** 0.5 < float(b["diameter_px_x"])


def _mark(lines: list[dict[str, str]]) -> Mark:
    def mean(*names: str) -> float:
        return float(np.mean([float(line[name]) for line in lines for name in names]))

    return Mark(
        column=mean("centre_col_x"),
        row=mean("centre_row_y"),
        z_mm=mean("z_min_mm", "z_max_mm"),
        diameter_px=mean("diameter_px_x", "diameter_px_y"),
        readers=len(lines),
        mean_malignancy=mean("malignancy_1to5"),
    )


def series_figures(analyzer: NoduleAnalyzer, volume: CtVolume, marks: list[Mark]) -> dict[str, Any]:
    """Findings of one series, and the rank and distance at which each marked nodule was found."""
    started, cpu = time.monotonic(), time.process_time()
    analysis = analyzer.analyse(volume)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    hits = [_hit(volume, analysis.findings, mark) for mark in marks]
    matched = {hit["rank"] for hit in hits if hit["rank"]}
    others = [f for rank, f in enumerate(analysis.findings, 1) if rank not in matched]
    return {
        "slices": volume.volume_hu.shape[0],
        "spacing_mm": list(volume.spacing_mm),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "not_analysed": [reason.text for reason in analysis.abstentions],
        "measures": dict(analysis.measures),
        "marked": hits,
        "findings": [_finding(f) for f in analysis.findings],
        "unmarked_findings": len(others),
        "unmarked_above_half": sum((f.malignancy_probability or 0.0) > 0.5 for f in others),
    }


def _hit(volume: CtVolume, findings: tuple[NoduleFinding, ...], mark: Mark) -> dict[str, Any]:
    slice_index = (mark.z_mm - volume.affine[2, 3]) / volume.affine[2, 0]
    where = np.array([slice_index, mark.row, mark.column])
    radius_mm = mark.diameter_px * volume.spacing_mm[1] / 2
    apart = [float(np.linalg.norm((np.array(f.index) - where) * volume.spacing_mm)) for f in findings]
    near = [i for i, mm in enumerate(apart) if mm <= max(radius_mm, 5.0)]
    return {
        "diameter_mm": 2 * radius_mm,
        "readers": mark.readers,
        "mean_malignancy": mark.mean_malignancy,
        "rank": near[0] + 1 if near else None,
        "apart_mm": apart[near[0]] if near else None,
    }


def _finding(finding: NoduleFinding) -> dict[str, Any]:
    return {
        "slice_row_column": [round(v, 1) for v in finding.index],
        "diameter_mm": finding.diameter_mm,
        "nodule_probability": finding.nodule_probability,
        "malignancy_probability": finding.malignancy_probability,
        "interval": finding.interval,
        "abstentions": [reason.code for reason in finding.abstentions],
    }


def main(argv: list[str] | None = None) -> int:
    """Analyse each series, print one JSON object last."""
    parser = argparse.ArgumentParser(
        prog="python -m training.report.whole_series", description="Findings on marked series."
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundles", type=Path, default=None, help="folder of bundles; default: the shipped ones")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="auto", help="what runs the networks, as LUNGNODE_MODEL__ENGINE")
    args = parser.parse_args(argv)
    try:
        marks = read_marks(args.data)
        analyzer = load_models(args.bundles, args.device, args.engine).nodule
        figures = {}
        for source in sorted(p for p in (args.data / "lidc_idri_dicom").iterdir() if p.suffix != ".csv"):
            patient = source.name.split(".")[0]
            print(f"{patient} ...", file=sys.stderr, flush=True)
            figures[patient] = series_figures(analyzer, read_scan(source), marks.get(patient, []))
    except (BundleError, DataError, OSError) as error:
        print(f"training.report.whole_series: {error}", file=sys.stderr)
        return 2
    print(json.dumps(plain({"model_sha256": analyzer.sha256, "series": figures})))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
