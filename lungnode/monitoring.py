"""Input drift of each scanner, for alerts and for ``lungnode drift``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import typer

from lungnode.opening import open_database, read_settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from inference.drift import Drift


@dataclass(frozen=True, slots=True)
class ScannerDrift:
    """How a scanner's latest block of series compares with its reference; no comparison while there are too few."""

    scanner: str
    kernel: str
    slice_spacing: str
    series_count: int
    comparison: Drift | None

    @property
    def is_drifted(self) -> bool:
        """Whether anything of it has changed."""
        return self.comparison is not None and bool(self.comparison.drifted)


def scanner_drifts(session: Session) -> tuple[ScannerDrift, ...]:
    """Look at every scanner model, kernel and slice spacing that series came from."""
    from db.monitoring import summaries_by_scanner
    from inference.drift import latest_comparison

    found = summaries_by_scanner(session)
    return tuple(ScannerDrift(*group, len(found[group]), latest_comparison(found[group])) for group in sorted(found))


def drift() -> None:
    """Tell for each scanner whether its series still look as at the beginning; prints one JSON object each."""
    from inference.drift import REFERENCE, WINDOW

    with open_database(read_settings()) as database, database.read() as session:
        for one in scanner_drifts(session):
            missing = 0 if one.comparison else REFERENCE + WINDOW - one.series_count
            print(json.dumps({**asdict(one), "is_drifted": one.is_drifted, "series_missing": missing}))


def add_to(app: typer.Typer) -> None:
    """Make these commands of ``lungnode``."""
    app.command()(drift)
