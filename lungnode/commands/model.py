"""``lungnode model``: compare, promote and roll back the live and shadow models."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungnode.commands.context import open_database, read_settings
from lungnode.errors import CommandError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.domain.models import ModelIdentity
    from inference.drift.comparison import Figure
    from lungnode.settings.service import Settings
    from webapp.operations.model_comparison import CandidateReport

model_app = typer.Typer(help="Manage models: live and shadow.", no_args_is_help=True)


class Against(StrEnum):
    """Reference standard for findings."""

    PATHOLOGY = "pathology"
    VERDICTS = "verdicts"


Digest = Annotated[
    str, typer.Argument(help="SHA-256 of the model or its first characters (see `lungnode model list`).")
]
Since = Annotated[
    datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="Only shadow runs since this date.")
]


@model_app.command("compare")
def compare(
    digest: Digest = "",
    since: Since = None,
    against: Annotated[
        Against | None, typer.Option("--against", help="Reference standard; default: pathology if there is enough.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Compare a shadow model with the live one on findings with a reference standard."""
    from webapp.operations import model_comparison

    reference = model_comparison.Against(against.value) if against else None
    with open_database(read_settings()) as database, database.read() as session:
        moment = since.replace(tzinfo=UTC) if since else None
        report = model_comparison.candidate_report(session, shadow_model(session, digest), moment, reference)
    print(json.dumps(report.as_json()) if as_json else table(report))


@model_app.command("list")
def list_models() -> None:
    """List the live, shadow and former models; prints one JSON object for each."""
    from db.analyses.promotions import live_promotion, promotions
    from lungnode.adapters.live_model import located
    from lungnode.wiring.base import open_store

    settings = read_settings()
    with open_database(settings) as database, open_store(settings) as store:
        with database.read() as session:
            live, records = live_promotion(session), promotions(session)
        bundles = {record.bundle.sha256: record.bundle for record in records if record.bundle}
        folders = {sha256: located(store.files, bundle).folder for sha256, bundle in bundles.items()}
        promoted = [describe(folder, bundles[sha256].model.sha256) for sha256, folder in folders.items()]
        configured = describe(configured_folder(settings), identity_of(settings).sha256)
        shadow = []
        if settings.model.shadow_bundle is not None:
            over = settings.model.shadow_bundle
            shadow = [describe(over, identity_of(settings, over).sha256)]
    live_sha256 = live.bundle.sha256 if live and live.bundle else configured["bundle_sha256"]
    printed: set[object] = set()
    for model in (*promoted, configured, *shadow):
        sha256 = model["bundle_sha256"]
        if sha256 not in printed:
            state = "live" if sha256 == live_sha256 else "shadow" if model in shadow else "former"
            print(json.dumps({"state": state, **model}))
        printed.add(sha256)


By = Annotated[str, typer.Option("--by", help="Name of the responsible user (role admin).")]
Reason = Annotated[str, typer.Option("--reason", help="Reason, for the audit log.")]


@model_app.command("promote")
def promote(
    digest: Digest,
    by: By,
    reason: Reason,
    force: Annotated[
        bool, typer.Option("--force", help="Promote even if it is worse or data are insufficient.")
    ] = False,
) -> None:
    """Make the shadow model the live one; running services switch within seconds."""
    from db.analyses import promotions
    from inference.drift.comparison import Conclusion
    from lungnode.adapters.live_model import keep_bundle
    from lungnode.wiring.base import open_store
    from webapp.operations.model_comparison import candidate_report

    settings = read_settings()
    folder = settings.model.shadow_bundle
    if folder is None:
        raise CommandError("set LUNGNODE_MODEL__SHADOW_BUNDLE to the bundle to promote")
    with open_database(settings) as database, open_store(settings) as store:
        with database.read() as session:
            check_admin(session, by)
            model = shadow_model(session, digest)
            report = candidate_report(session, model)
        result = report.comparison
        if result.conclusion in (Conclusion.WORSE, Conclusion.TOO_FEW) and not force:
            why = f"{result.conclusion.replace('_', ' ')} ({result.reason})"
            raise CommandError(f"not promoted: {why}; --force promotes it anyway, which is recorded")
        if identity_of(settings, folder) != model:
            raise CommandError(f"the bundle in {folder} differs from the shadow-tested one; nothing was changed")
        sha256 = str(describe(folder, model.sha256)["bundle_sha256"])
        bundle = promotions.PromotedBundle(model, sha256, keep_bundle(store.files, folder, sha256))
        with database.begin() as session:
            figures = report.as_json()
            record = promotions.promote(session, bundle, by=by, reason=reason, figures=figures, is_forced=force)
    print(json.dumps({"number": record.number, "live": model.sha256, "bundle_sha256": sha256, "forced": force}))


@model_app.command("rollback")
def rollback(by: By, reason: Reason) -> None:
    """Restore the previous live model; running services switch within seconds."""
    from db.analyses.promotions import roll_back

    with open_database(read_settings()) as database, database.begin() as session:
        check_admin(session, by)
        record = roll_back(session, by=by, reason=reason)
    live = record.bundle.model.sha256 if record.bundle else "the model of the settings"
    print(json.dumps({"number": record.number, "live": live}))


def check_admin(session: Session, name: str) -> None:
    """Check that a user has the role admin.

    Raises
    ------
    CommandError
        There is no enabled user of that name with the role admin.
    """
    from db.accounts.users import user_record
    from db.domain.accounts import Role

    user = user_record(session, name=name)
    if user is None or user.is_disabled or user.role is not Role.ADMIN:
        raise CommandError("--by must name a user with the role admin (`lungnode user add NAME --role admin`)")


def configured_folder(settings: Settings) -> Path:
    """Return the folder of the nodule bundle in the settings."""
    from inference.bundle import bundle_folders

    return bundle_folders(settings.model.bundle)["nodule"]


def identity_of(settings: Settings, over: Path | None = None) -> ModelIdentity:
    """Load models as the service does, and return the identity that findings are recorded under."""
    from db.domain.models import ModelIdentity
    from inference.loading import load_nodule_analyzer

    model = settings.model
    cache = settings.network_cache
    nodule = load_nodule_analyzer(model.bundle, "cpu", model.engine, model.variant, over=over, cache=cache)
    return ModelIdentity(nodule.name, nodule.version, nodule.sha256)


def describe(folder: Path, sha256: str) -> dict[str, object]:
    """Return the identity, digest, calibration and metrics of a bundle as JSON values."""
    from inference.bundle import read_bundle
    from inference.calibration.temperatures import answer_temperature, network_temperatures

    bundle = read_bundle(folder)
    metrics = bundle.recipe["metrics"]
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sha256": sha256,
        "bundle_sha256": bundle.sha256,
        "calibration": {
            "kind": bundle.recipe["calibration"]["kind"],
            "temperature": answer_temperature(bundle.recipe),
            "temperatures": network_temperatures(bundle.recipe),
        },
        "figures": {key: metrics.get(key) for key in ("split", "n", "auc", "auc_interval", "brier", "ece")},
    }


def shadow_model(session: Session, digest: str) -> ModelIdentity:
    """Return the shadow-tested model whose digest starts with ``digest``.

    Raises
    ------
    CommandError
        No model matches, or more than one.
    """
    from db.analyses.shadow import shadow_models

    matches = [model for model in shadow_models(session) if model.sha256.startswith(digest)][: 2 if digest else 1]
    if not matches:
        raise CommandError(
            "shadow model not found: set LUNGNODE_MODEL__SHADOW_BUNDLE and wait until series were analysed"
        )
    if len(matches) > 1:
        raise CommandError("digest prefix is ambiguous")
    return matches[0]


def table(report: CandidateReport) -> str:
    """Format a report as text."""
    result = report.comparison
    lines = [
        f"candidate {_name(report.candidate)}, live {_name(report.live)}",
        f"{report.series_count} series; {result.n} findings judged by {report.judged_by}, {result.positives} of them "
        f"{'malignant' if report.judged_by == 'pathology' else 'accepted'}; {result.patients} patients",
        *(f"left out: {count} {why.replace('_', ' ')}" for why, count in report.left_out.items()),
        f"conclusion: {result.conclusion.replace('_', ' ')}, for {result.reason}",
    ]
    figures = (("AUC", result.auc), ("Brier score", result.brier), ("ECE", result.calibration_error))
    rows = [(name, figure) for name, figure in figures if figure is not None]
    if rows:
        lines.append(f"{'':12} {'live':24} {'candidate':24} {'candidate - live':26} p")
        lines += [_row(name, figure) for name, figure in rows]
    if result.decisions is not None:
        decisions = result.decisions
        lines.append(
            f"decisions at 0.5: only the live one right {decisions.only_first_right}, only the candidate "
            f"{decisions.only_second_right}, p {decisions.p:.3f} (McNemar)"
        )
    return "\n".join(lines)


def _name(model: ModelIdentity | None) -> str:
    return "none" if model is None else f"{model.name} {model.version} ({model.sha256[:12]})"


def _row(name: str, figure: Figure) -> str:
    def cell(value: float, interval: tuple[float, float]) -> str:
        return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"

    cells = (
        cell(figure.first, figure.first_interval),
        cell(figure.second, figure.second_interval),
        cell(figure.difference, figure.difference_interval),
    )
    return f"{name:12} {cells[0]:24} {cells[1]:24} {cells[2]:26} {'' if figure.p is None else f'{figure.p:.3f}'}"
