"""``python -m training.federated.partition --data DIR --out DIR``: split a data set into unequal sites.

Sites differ as hospitals do: by slice thickness and pixel size. Each gets a folder of its own, with a ``labels.csv``
of its own patients and links to their crops, so that a process that is given one can see no other's.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path

from training.data.nodules import nodule_folder, read_rows
from training.data.own_data import is_own_data
from training.data.records import DataError, NoduleRow

THIN_MM = 1.5
FINE_MM = 0.7
SITES = ("thin slices, fine pixels", "thin slices, coarse pixels", "thick slices, fine pixels",
         "thick slices, coarse pixels")  # fmt: skip


def site_of(row: NoduleRow) -> int:
    """Return the index in :data:`SITES`, 0 to 3."""
    return 2 * int(row.slice_mm > THIN_MM) + int(row.pixel_mm > FINE_MM)


def partition(data: Path, out: Path) -> list[dict[str, int]]:
    """Write ``out/site-0`` to ``site-3``; nodules of each split at each.

    A patient belongs to the site of the first of their nodules.

    Raises
    ------
    DataError
        The data is of another layout.
    """
    folder = nodule_folder(data)
    if is_own_data(folder):
        raise DataError("only a folder with labels.csv is split into sites; own series belong to one already")
    of_patient: dict[str, int] = {}
    for row in read_rows(data):
        of_patient.setdefault(row.patient_id, site_of(row))
    with (folder / "labels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    counted = []
    for number in range(len(SITES)):
        own = [line for line in lines if of_patient[line["patient_id"]] == number]
        where = out / f"site-{number}"
        where.mkdir(parents=True, exist_ok=True)
        for kind in ("image", "mask"):
            if not (where / kind).exists():
                (where / kind).mkdir()
            for line in own:
                link = where / kind / line["file"]
                if not link.exists() and (folder / kind / line["file"]).exists():
                    link.symlink_to((folder / kind / line["file"]).resolve())
        with (where / "labels.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(lines[0]))
            writer.writeheader()
            writer.writerows(own)
        counted.append(dict(Counter(line["split"] for line in own)))
    return counted


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m training.federated.partition", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        counted = partition(args.data, args.out)
    except (DataError, OSError) as error:
        print(f"training.federated.partition: {error}", file=sys.stderr)
        return 2
    print(json.dumps(dict(zip(SITES, counted, strict=True))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
