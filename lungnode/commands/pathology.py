"""``lungnode pathology``: import and list pathology results of nodules."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungnode.commands.context import open_database, read_settings, who
from lungnode.errors import CommandError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.analyses.pathology import NewPathology

pathology_app = typer.Typer(help="Pathology results of nodules, for calibration monitoring.", no_args_is_help=True)

COLUMNS = (
    *("study_instance_uid", "series_instance_uid", "finding_id"),
    *("x_mm", "y_mm", "z_mm", "label", "date", "source"),
)
NEEDED = frozenset({"label", "date", "source"})
LABELS = {"benign": False, "malignant": True}
MAX_ROWS, MAX_PROBLEMS, MAX_SOURCE, FARTHEST_MM = 100_000, 20, 64, 10_000.0
EARLIEST = date(1970, 1, 1)


class RowError(ValueError):
    """A row is invalid; the message holds none of its values."""


@pathology_app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help=f"UTF-8, with the columns {', '.join(COLUMNS)}.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file without importing.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite labels imported earlier.")] = False,
) -> int:
    """Import pathology results: all rows, or none if one is invalid (safe to repeat). Prints one JSON object.

    A row names a study or series by UID, and a nodule by the id of a finding or by its position in the patient (mm).
    """
    settings, rows = read_settings(), list(_rows(file))
    with open_database(settings) as database, database.begin() as session:
        counts, problems = _import(session, rows, replace=replace)
        if problems or dry_run:
            session.rollback()
    for problem in problems[:MAX_PROBLEMS]:
        typer.echo(f"lungnode: {file.name}: {problem}", err=True)
    if len(problems) > MAX_PROBLEMS:
        typer.echo(f"lungnode: {file.name}: and {len(problems) - MAX_PROBLEMS} more rows", err=True)
    if problems:
        typer.echo("lungnode: nothing was imported", err=True)
        return 1
    totals = {name: counts[name] for name in ("added", "unchanged", "replaced", "without_finding")}
    typer.echo(json.dumps({"rows": len(rows), **totals, "dry_run": dry_run}))
    return 0


@pathology_app.command("list")
def list_pathology() -> None:
    """List imported results; prints one JSON object for each."""
    from dataclasses import asdict

    from db.analyses.pathology import pathology_records

    with open_database(read_settings()) as database, database.read() as session:
        for record in pathology_records(session):
            typer.echo(json.dumps({**asdict(record), "imported_at": record.imported_at.isoformat()}))


def _import(
    session: Session, rows: Sequence[tuple[int, Mapping[str, str]]], *, replace: bool
) -> tuple[Counter[str], list[str]]:
    """Import rows; return counts by outcome, and one line per invalid row."""
    from db.analyses.pathology import import_pathology
    from db.domain.errors import DbError

    counts: Counter[str] = Counter()
    problems = []
    for number, row in rows:
        try:
            new = read_row(row)
            result = import_pathology(session, new, imported_by=who(), replace=replace)
        except (RowError, DbError) as error:
            problems.append(f"row {number}: {error}")
            continue
        counts[result.outcome] += 1
        counts["without_finding"] += int(not result.has_finding)
    return counts, problems


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows with their numbers, as a spreadsheet shows them: the header is row 1."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            _check_header(file, reader.fieldnames or ())
            for number, row in enumerate(reader, 2):
                if number > MAX_ROWS + 1:
                    raise CommandError(f"{file.name}: more than {MAX_ROWS} rows; split the file")
                if None in row or None in row.values():
                    raise CommandError(f"{file.name}: row {number}: number of fields differs from the header")
                yield number, {name: value.strip() for name, value in row.items()}
    except UnicodeDecodeError:
        raise CommandError(f"{file.name}: is not UTF-8") from None
    except csv.Error:
        raise CommandError(f"{file.name}: is not a valid CSV file") from None


def _check_header(file: Path, names: object) -> None:
    columns = list(names) if isinstance(names, list | tuple) else []
    if missing := sorted(NEEDED - set(columns)):
        raise CommandError(f"{file.name}: row 1: the column {missing[0]} is missing")
    if len(set(columns)) < len(columns) or not set(columns) <= set(COLUMNS):
        raise CommandError(f"{file.name}: row 1: columns must be {', '.join(COLUMNS)}, each once at most")


def read_row(row: Mapping[str, str]) -> NewPathology:
    """Parse and check one row.

    Raises
    ------
    RowError
        A column is missing or invalid.
    """
    from db.analyses.pathology import NewPathology
    from db.domain.uids import is_uid

    values = {name: row.get(name, "") for name in COLUMNS}
    for name in ("study_instance_uid", "series_instance_uid"):
        if values[name] and not is_uid(values[name]):
            raise RowError(f"{name} is not a UID")
    if not values["study_instance_uid"] and not values["series_instance_uid"]:
        raise RowError("study_instance_uid or series_instance_uid is required")
    if values["finding_id"] and not re.fullmatch(r"[0-9a-f]{32}", values["finding_id"]):
        raise RowError("finding_id is not a valid finding id")
    position = _position(values)
    if (position is None) == (not values["finding_id"]):
        raise RowError("either finding_id or x_mm, y_mm and z_mm are required")
    if values["label"].lower() not in LABELS:
        raise RowError("label must be benign or malignant")
    if not 0 < len(values["source"]) <= MAX_SOURCE or not values["source"].isprintable():
        raise RowError(f"source must have 1 to {MAX_SOURCE} printable characters")
    return NewPathology(
        study_instance_uid=values["study_instance_uid"],
        series_instance_uid=values["series_instance_uid"],
        finding_id=values["finding_id"],
        position_mm=position,
        is_malignant=LABELS[values["label"].lower()],
        reported_on=_date(values["date"]),
        source=values["source"],
    )


def _position(values: Mapping[str, str]) -> tuple[float, float, float] | None:
    texts = [values[name] for name in ("x_mm", "y_mm", "z_mm")]
    if not any(texts):
        return None
    try:
        x, y, z = (float(text) for text in texts)
    except ValueError:
        raise RowError("x_mm, y_mm and z_mm must all be numbers") from None
    if not all(math.isfinite(value) and abs(value) < FARTHEST_MM for value in (x, y, z)):
        raise RowError("x_mm, y_mm and z_mm are out of range")
    return x, y, z


def _date(text: str) -> str:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise RowError("date must have the form 2026-01-31") from None
    if not EARLIEST <= day <= datetime.now(UTC).date():
        raise RowError("date is in the future or before 1970")
    return day.isoformat()
