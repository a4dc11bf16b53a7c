"""``lungnode model``: the second model beside the live one, compared on what readers judged."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lungnode.errors import CommandError
from lungnode.opening import open_database, read_settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.domain import ModelIdentity
    from inference.comparison import Figure
    from webapp.comparing import CandidateReport

model_app = typer.Typer(help="The models: which answer, and which are tried unseen.", no_args_is_help=True)

Digest = Annotated[str, typer.Argument(help="Its SHA-256, or the beginning; the one tried last if left out.")]
Since = Annotated[datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="Only what was tried since.")]


@model_app.command("compare")
def compare(
    digest: Digest = "",
    since: Since = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Compare a model that was tried unseen with the live one, on findings that readers accepted or rejected."""
    from inference.metrics import plain
    from webapp.comparing import candidate_report

    with open_database(read_settings()) as database, database.read() as session:
        report = candidate_report(session, tried(session, digest), since.replace(tzinfo=UTC) if since else None)
    print(json.dumps(plain(report.as_json())) if as_json else table(report))


def tried(session: Session, digest: str) -> ModelIdentity:
    """Find a model that was tried by the beginning of its digest.

    Raises
    ------
    CommandError
        There is none, or more than one.
    """
    from db.trials import tried_models

    found = [one for one in tried_models(session) if one.sha256.startswith(digest)][: 2 if digest else 1]
    if not found:
        raise CommandError("no such model was tried: set LUNGNODE_MODEL__SHADOW_BUNDLE and let series come in")
    if len(found) > 1:
        raise CommandError("more than one model that was tried has a digest that begins so")
    return found[0]


def table(report: CandidateReport) -> str:
    """Write a report for people."""
    found = report.comparison
    lines = [
        f"candidate {_name(report.candidate)}, live {_name(report.live)}",
        f"{report.series_count} series; {found.n} findings that readers judged, {found.positives} accepted, "
        f"{found.patients} patients",
        *(f"left out: {count} {why.replace('_', ' ')}" for why, count in report.left_out.items()),
        f"conclusion: {found.conclusion.replace('_', ' ')}, for {found.reason}",
    ]
    figures = (("AUC", found.auc), ("Brier score", found.brier), ("ECE", found.calibration_error))
    rows = [(name, figure) for name, figure in figures if figure is not None]
    if rows:
        lines.append(f"{'':12} {'live':24} {'candidate':24} {'candidate - live':26} p")
        lines += [_row(name, figure) for name, figure in rows]
    if found.decisions is not None:
        told = found.decisions
        lines.append(
            f"decisions at 0.5: only the live one right {told.only_first_right}, only the candidate "
            f"{told.only_second_right}, p {told.p:.3f} (McNemar)"
        )
    return "\n".join(lines)


def _name(model: ModelIdentity | None) -> str:
    return "none" if model is None else f"{model.name} {model.version} ({model.sha256[:12]})"


def _row(name: str, figure: Figure) -> str:
    def told(value: float, interval: tuple[float, float]) -> str:
        return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"

    cells = (
        told(figure.first, figure.first_interval),
        told(figure.second, figure.second_interval),
        told(figure.difference, figure.difference_interval),
    )
    return f"{name:12} {cells[0]:24} {cells[1]:24} {cells[2]:26} {'' if figure.p is None else f'{figure.p:.3f}'}"
