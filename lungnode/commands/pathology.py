"""``lungnode pathology``: what pathology said of nodules, from a table that another system wrote."""

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

pathology_app = typer.Typer(help="Pathology of nodules, for watching calibration.", no_args_is_help=True)

COLUMNS = (
    *("study_instance_uid", "series_instance_uid", "finding_id"),
    *("x_mm", "y_mm", "z_mm", "label", "date", "source"),
)
NEEDED = frozenset({"label", "date", "source"})
LABELS = {"benign": False, "malignant": True}
MAX_ROWS, MAX_PROBLEMS, MAX_SOURCE, FARTHEST_MM = 100_000, 20, 64, 10_000.0
EARLIEST = date(1970, 1, 1)


class RowError(ValueError):
    """What is wrong with a row, without its values."""


@pathology_app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", help=f"UTF-8, with the columns {', '.join(COLUMNS)}.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and keep nothing.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Correct labels that were imported otherwise.")] = False,
) -> int:
    """Import pathology: all rows, or none where one is wrong; importing again changes nothing. Prints a JSON object.

    A row names a study or series by UID, and a nodule by the id of a finding or by its position in the patient (mm).
    """
    rows = list(_rows(file))
    with open_database(read_settings()) as database, database.begin() as session:
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
    told = {name: counts[name] for name in ("added", "known", "replaced", "without_finding")}
    typer.echo(json.dumps({"rows": len(rows), **told, "dry_run": dry_run}))
    return 0


@pathology_app.command("list")
def list_pathology() -> None:
    """List what was imported; prints one JSON object each."""
    from dataclasses import asdict

    from db.analyses.pathology import pathology_records

    with open_database(read_settings()) as database, database.read() as session:
        for record in pathology_records(session):
            typer.echo(json.dumps({**asdict(record), "imported_at": record.imported_at.isoformat()}))


def _import(
    session: Session, rows: Sequence[tuple[int, Mapping[str, str]]], *, replace: bool
) -> tuple[Counter[str], list[str]]:
    """Import rows; gives what became of them, and a line for each that is wrong."""
    from db.analyses.pathology import import_pathology
    from db.domain.errors import DbError

    counts: Counter[str] = Counter()
    problems = []
    for number, row in rows:
        try:
            new = read_row(row)
            done = import_pathology(session, new, imported_by=who(), replace=replace)
        except (RowError, DbError) as error:
            problems.append(f"row {number}: {error}")
            continue
        counts[done.outcome] += 1
        counts["without_finding"] += int(not done.has_finding)
    return counts, problems


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Read the rows of a table, numbered as a spreadsheet shows them: the header is row 1."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            _check_header(file, reader.fieldnames or ())
            for number, row in enumerate(reader, 2):
                if number > MAX_ROWS + 1:
                    raise CommandError(f"{file.name}: more than {MAX_ROWS} rows; import it in parts")
                if None in row or None in row.values():
                    raise CommandError(f"{file.name}: row {number}: has not as many fields as the header")
                yield number, {name: value.strip() for name, value in row.items()}
    except UnicodeDecodeError:
        raise CommandError(f"{file.name}: is not UTF-8") from None
    except csv.Error:
        raise CommandError(f"{file.name}: is not a CSV file that can be read") from None


def _check_header(file: Path, names: object) -> None:
    found = list(names) if isinstance(names, list | tuple) else []
    if missing := sorted(NEEDED - set(found)):
        raise CommandError(f"{file.name}: row 1: the column {missing[0]} is missing")
    if len(set(found)) < len(found) or not set(found) <= set(COLUMNS):
        raise CommandError(f"{file.name}: row 1: columns are to be {', '.join(COLUMNS)}, each once at most")


def read_row(row: Mapping[str, str]) -> NewPathology:
    """Read one row.

    Raises
    ------
    RowError
        Saying which column is wrong, and how.
    """
    from db.analyses.pathology import NewPathology

    told = {name: row.get(name, "") for name in COLUMNS}
    for name in ("study_instance_uid", "series_instance_uid"):
        if told[name] and not re.fullmatch(r"[0-9.]{1,64}", told[name]):
            raise RowError(f"{name} is no UID")
    if not told["study_instance_uid"] and not told["series_instance_uid"]:
        raise RowError("study_instance_uid or series_instance_uid has to be given")
    if told["finding_id"] and not re.fullmatch(r"[0-9a-f]{32}", told["finding_id"]):
        raise RowError("finding_id is no id of a finding")
    position = _position(told)
    if (position is None) == (not told["finding_id"]):
        raise RowError("either finding_id or x_mm, y_mm and z_mm have to be given")
    if told["label"].lower() not in LABELS:
        raise RowError("label is to be benign or malignant")
    if not 0 < len(told["source"]) <= MAX_SOURCE or not told["source"].isprintable():
        raise RowError(f"source is to have 1 to {MAX_SOURCE} printable characters")
    return NewPathology(
        study_instance_uid=told["study_instance_uid"],
        series_instance_uid=told["series_instance_uid"],
        finding_id=told["finding_id"],
        position_mm=position,
        is_malignant=LABELS[told["label"].lower()],
        told_on=_date(told["date"]),
        source=told["source"],
    )


def _position(told: Mapping[str, str]) -> tuple[float, float, float] | None:
    texts = [told[name] for name in ("x_mm", "y_mm", "z_mm")]
    if not any(texts):
        return None
    try:
        x, y, z = (float(text) for text in texts)
    except ValueError:
        raise RowError("x_mm, y_mm and z_mm are to be numbers, all three") from None
    if not all(math.isfinite(value) and abs(value) < FARTHEST_MM for value in (x, y, z)):
        raise RowError("x_mm, y_mm and z_mm are no position in a patient")
    return x, y, z


def _date(text: str) -> str:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise RowError("date is to be written as 2026-01-31") from None
    if not EARLIEST <= found <= datetime.now(UTC).date():
        raise RowError("date lies in the future, or before 1970")
    return found.isoformat()
