"""``lungnode model``: which model answers, what is tried beside it, and the way forth and back."""

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

    from db.domain.records import ModelIdentity
    from inference.drift.comparison import Figure
    from lungnode.settings.service import Settings
    from webapp.operations.model_comparison import CandidateReport

model_app = typer.Typer(help="The models: which answer, and which are tried unseen.", no_args_is_help=True)


class Against(StrEnum):
    """What findings are judged by."""

    PATHOLOGY = "pathology"
    VERDICTS = "verdicts"


Digest = Annotated[str, typer.Argument(help="Its SHA-256, or the beginning, as `lungnode model list` tells.")]
Since = Annotated[datetime | None, typer.Option("--since", formats=["%Y-%m-%d"], help="Only what was tried since.")]


@model_app.command("compare")
def compare(
    digest: Digest = "",
    since: Since = None,
    against: Annotated[
        Against | None, typer.Option("--against", help="What findings are judged by; by pathology where it is enough.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """Compare a model that was tried unseen with the live one, on findings of which more is known."""
    from webapp.operations import model_comparison

    wanted = model_comparison.Against(against.value) if against else None
    with open_database(read_settings()) as database, database.read() as session:
        moment = since.replace(tzinfo=UTC) if since else None
        report = model_comparison.candidate_report(session, tried(session, digest), moment, wanted)
    print(json.dumps(report.as_json()) if as_json else table(report))


@model_app.command("list")
def list_models() -> None:
    """List the live model, the one that is tried, and former ones; prints one JSON object each."""
    from db.analyses.promotions import live_promotion, promotions
    from lungnode.adapters.live_model import located
    from lungnode.wiring.base import open_store

    settings = read_settings()
    with open_database(settings) as database, open_store(settings) as store:
        with database.read() as session:
            live, every = live_promotion(session), promotions(session)
        held = {record.bundle.sha256: record.bundle for record in every if record.bundle}
        folders = {sha256: located(store.files, bundle).folder for sha256, bundle in held.items()}
        told = [describe(folder, held[sha256].model.sha256) for sha256, folder in folders.items()]
        own = describe(own_folder(settings), identity_of(settings).sha256)
        shadow = []
        if settings.model.shadow_bundle is not None:
            over = settings.model.shadow_bundle
            shadow = [describe(over, identity_of(settings, over).sha256)]
    now = live.bundle.sha256 if live and live.bundle else own["bundle_sha256"]
    seen: set[object] = set()
    for one in (*told, own, *shadow):
        if one["bundle_sha256"] not in seen:
            state = "live" if one["bundle_sha256"] == now else "shadow" if one in shadow else "former"
            print(json.dumps({"state": state, **one}))
        seen.add(one["bundle_sha256"])


By = Annotated[str, typer.Option("--by", help="Who decides: the name of somebody with the role admin.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit trail.")]


@model_app.command("promote")
def promote(
    digest: Digest,
    by: By,
    reason: Reason,
    force: Annotated[bool, typer.Option("--force", help="Also where it is worse, or too little is known.")] = False,
) -> None:
    """Make the model that was tried unseen the live one; running services follow within seconds."""
    from db.analyses import promotions
    from inference.drift.comparison import Conclusion
    from lungnode.adapters.live_model import keep_bundle
    from lungnode.wiring.base import open_store
    from webapp.operations.model_comparison import candidate_report

    settings = read_settings()
    folder = settings.model.shadow_bundle
    if folder is None:
        raise CommandError("name the bundle to promote in LUNGNODE_MODEL__SHADOW_BUNDLE")
    with open_database(settings) as database, open_store(settings) as store:
        with database.read() as session:
            check_admin(session, by)
            model = tried(session, digest)
            report = candidate_report(session, model)
        found = report.comparison
        if found.conclusion in (Conclusion.WORSE, Conclusion.TOO_FEW) and not force:
            told = f"{found.conclusion.replace('_', ' ')} ({found.reason})"
            raise CommandError(f"not promoted: {told}; --force promotes it all the same, and that is on record")
        if identity_of(settings, folder) != model:
            raise CommandError(f"the bundle in {folder} is not the one that was tried; nothing was changed")
        sha256 = str(describe(folder, model.sha256)["bundle_sha256"])
        bundle = promotions.PromotedBundle(model, sha256, keep_bundle(store.files, folder, sha256))
        with database.begin() as session:
            figures = report.as_json()
            record = promotions.promote(session, bundle, by=by, reason=reason, figures=figures, is_forced=force)
    print(json.dumps({"number": record.number, "live": model.sha256, "bundle_sha256": sha256, "forced": force}))


@model_app.command("rollback")
def rollback(by: By, reason: Reason) -> None:
    """Make the model live again that was so before; running services follow within seconds."""
    from db.analyses.promotions import roll_back

    with open_database(read_settings()) as database, database.begin() as session:
        check_admin(session, by)
        record = roll_back(session, by=by, reason=reason)
    live = record.bundle.model.sha256 if record.bundle else "the model of the settings"
    print(json.dumps({"number": record.number, "live": live}))


def check_admin(session: Session, name: str) -> None:
    """Refuse who may not decide which model answers.

    Raises
    ------
    CommandError
        There is nobody of that name with the role admin.
    """
    from db.accounts.users import user_record
    from db.domain.records import Role

    user = user_record(session, name=name)
    if user is None or user.is_disabled or user.role is not Role.ADMIN:
        raise CommandError("--by names nobody with the role admin: `lungnode user add NAME --role admin`")


def own_folder(settings: Settings) -> Path:
    """Name the nodule bundle of the settings."""
    from inference.bundle import bundle_folders

    return bundle_folders(settings.model.bundle)["nodule"]


def identity_of(settings: Settings, over: Path | None = None) -> ModelIdentity:
    """Load models as the service does, and tell under which identity they answer."""
    from db.domain.records import ModelIdentity
    from inference.predictor import load_models

    model = settings.model
    cache = settings.network_cache
    nodule = load_models(model.bundle, "cpu", model.engine, model.opinion, over=over, cache=cache).nodule
    return ModelIdentity(nodule.name, nodule.version, nodule.sha256)


def describe(folder: Path, sha256: str) -> dict[str, object]:
    """Tell of a bundle: its identity in findings, its own digest, calibration, and the figures that came with it."""
    from inference.bundle import read_bundle

    bundle = read_bundle(folder)
    metrics = bundle.recipe["metrics"]
    return {
        "name": bundle.name,
        "version": bundle.version,
        "sha256": sha256,
        "bundle_sha256": bundle.sha256,
        "calibration": {key: bundle.recipe["calibration"].get(key) for key in ("kind", "temperature")},
        "figures": {key: metrics.get(key) for key in ("split", "n", "auc", "auc_interval", "brier", "ece")},
    }


def tried(session: Session, digest: str) -> ModelIdentity:
    """Find a model that was tried by the beginning of its digest.

    Raises
    ------
    CommandError
        There is none, or more than one.
    """
    from db.analyses.shadow import shadow_models

    found = [one for one in shadow_models(session) if one.sha256.startswith(digest)][: 2 if digest else 1]
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
        f"{report.series_count} series; {found.n} findings judged by {report.judged_by}, {found.positives} of them "
        f"{'malignant' if report.judged_by == 'pathology' else 'accepted'}; {found.patients} patients",
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
