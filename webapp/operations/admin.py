"""Administration: peers, destinations, deliveries, dead letters, jobs. Every action is audited."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, redirect, render_template, request, url_for
from pydantic import BaseModel, BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as BaseResponse

from db.analyses import analyses, quarantine
from db.domain.analyses import AnalysisRecord
from db.domain.deliveries import DeliveryRecord, DeliveryStatus
from db.domain.exchange import PriorShortfall, ResultFailure
from db.intake import priors
from db.monitoring import association_log, faults
from db.read_models import operations
from db.results import deliveries
from db.results import failures as result_failures
from webapp.accounts.identity import principal
from webapp.api import models, models_admin
from webapp.api.models_admin import Count, Deliveries, Resend, ResultFailures
from webapp.api.models_studies import Delivery
from webapp.endpoints import ADMINISTER, HTML, Rule, endpoint
from webapp.http.errors import BadRequestError, NotFoundError
from webapp.http.messages import english
from webapp.options import Node
from webapp.services.registry import current_services

blueprint = Blueprint("admin", __name__)

MAX_AE_TITLE = 16


class DeliveryParameters(BaseModel):
    """Parameters of the list of deliveries."""

    status: Annotated[
        DeliveryStatus | SkipJsonSchema[None],
        BeforeValidator(lambda text: text or None),
        Field(description="Only deliveries with this status; `failed` are the dead letters."),
        Rule(english("Unknown status."), "bad_status", 400),
    ] = None


@dataclass(frozen=True, slots=True)
class OverviewRecords:
    """Records of the administration page."""

    loads: tuple[operations.DestinationLoad, ...]
    dead_letters: tuple[DeliveryRecord, ...]
    dead_letter_count: int
    result_failures: tuple[ResultFailure, ...]
    result_failure_count: int
    deliveries: tuple[DeliveryRecord, ...]
    jobs: tuple[AnalysisRecord, ...]
    shortfalls: tuple[PriorShortfall, ...]
    scanners: tuple[quarantine.ScannerState, ...]
    associations: tuple[association_log.AssociationRecord, ...]
    faults: tuple[faults.Fault, ...]


def _overview(session: Session) -> OverviewRecords:
    return OverviewRecords(
        loads=operations.destination_loads(session),
        dead_letters=deliveries.dead_letters(session, limit=operations.LISTED),
        dead_letter_count=deliveries.dead_letter_count(session),
        result_failures=result_failures.result_failures(session, limit=operations.LISTED),
        result_failure_count=result_failures.failure_count(session),
        deliveries=operations.recent_deliveries(session),
        jobs=operations.jobs(session),
        shortfalls=priors.shortfalls(session, limit=operations.LISTED),
        scanners=quarantine.scanner_states(session),
        associations=association_log.recent(session),
        faults=faults.faults(session, limit=operations.LISTED),
    )


@endpoint(blueprint, "GET", "/admin", may=ADMINISTER, answers={200: HTML})
def page() -> str:
    """Peers, destinations, deliveries and jobs as a page."""
    with current_services().database.read() as session:
        overview = _overview(session)
    loads = {load.destination: load for load in overview.loads}
    options = current_services().options
    return render_template("admin.html", overview=overview, loads=loads, options=options, statuses=DeliveryStatus)


@endpoint(blueprint, "POST", "/admin/deliveries/<hex_id:delivery_id>/resend", may=ADMINISTER)
def resend_from_page(delivery_id: str) -> BaseResponse:
    """Resend one object, and return to the page."""
    _resend(delivery_id)
    return redirect(url_for("admin.page", _anchor="deliveries"), 303)


@endpoint(blueprint, "POST", "/admin/dead-letters/resend", may=ADMINISTER)
def resend_all_from_page() -> BaseResponse:
    """Resend failed deliveries, and return to the page."""
    _resend_dead_letters(_ae_title(request.form.get("destination", "")))
    return redirect(url_for("admin.page", _anchor="dead-letters"), 303)


@endpoint(blueprint, "POST", "/admin/results/<hex_id:analysis_id>/retry", may=ADMINISTER)
def retry_results_from_page(analysis_id: str) -> BaseResponse:
    """Retry the creation of result objects, and return to the page."""
    _retry_results(analysis_id)
    return redirect(url_for("admin.page", _anchor="result-failures"), 303)


@endpoint(blueprint, "POST", "/admin/priors/again", may=ADMINISTER)
def fetch_again_from_page() -> BaseResponse:
    """Retry the retrieval of missing priors, and return to the page."""
    _fetch_again()
    return redirect(url_for("admin.page", _anchor="priors"), 303)


@endpoint(blueprint, "POST", "/admin/analyses/<hex_id:analysis_id>/again", may=ADMINISTER)
def analyse_again_from_page(analysis_id: str) -> BaseResponse:
    """Request a further analysis by the same model, and return to the page."""
    with current_services().database.begin() as session:
        record = analyses.analysis_record(session, analysis_id)
        if record is None:
            raise NotFoundError("Analysis not found.")
        analyses.request_analysis(session, record.series_id, record.model, requested_by=principal().name, force=True)
    return redirect(url_for("admin.page", _anchor="jobs"), 303)


@endpoint(blueprint, "GET", "/api/v1/admin", may=ADMINISTER, answers={200: models_admin.Overview})
def overview() -> models_admin.Overview:
    """Peers, destinations, dead letters and jobs."""
    with current_services().database.read() as session:
        content = _overview(session)
    options = current_services().options
    return models_admin.Overview.model_validate(
        models.merged(
            content,
            peers=options.peers,
            destinations=[_destination(node, content.loads) for node in options.destinations],
            prior_shortfalls=content.shortfalls,
        )
    )


def _destination(node: Node, loads: Iterable[operations.DestinationLoad]) -> dict[str, object]:
    """Return a destination with its delivery counts."""
    load = next((load for load in loads if load.destination == node.ae_title), None)
    return models.merged(
        node,
        deliveries={status.value: load.counts.get(status, 0) if load else 0 for status in DeliveryStatus},
        last_sent_at=load.last_sent_at if load else None,
        oldest_pending_at=load.oldest_pending_at if load else None,
    )


@endpoint(
    blueprint, "GET", "/api/v1/admin/deliveries", may=ADMINISTER, answers={200: Deliveries}, query=DeliveryParameters
)
def delivery_listing(query: DeliveryParameters) -> Deliveries:
    """Deliveries, latest change first."""
    with current_services().database.read() as session:
        records = operations.recent_deliveries(session, status=query.status)
    return Deliveries.model_validate({"items": records})


@endpoint(
    blueprint, "POST", "/api/v1/admin/deliveries/<hex_id:delivery_id>/resend", may=ADMINISTER, answers={200: Delivery}
)
def resend(delivery_id: str) -> Delivery:
    """Resend an object."""
    return Delivery.model_validate(_resend(delivery_id))


@endpoint(
    blueprint, "POST", "/api/v1/admin/results/<hex_id:analysis_id>/retry", may=ADMINISTER, answers={200: ResultFailures}
)
def retry_results(analysis_id: str) -> ResultFailures:
    """Retry the creation of result objects."""
    return ResultFailures.model_validate({"items": _retry_results(analysis_id)})


@endpoint(
    blueprint, "POST", "/api/v1/admin/dead-letters/resend", may=ADMINISTER, answers={200: Deliveries}, body=Resend
)
def resend_all(body: Resend) -> Deliveries:
    """Resend failed deliveries."""
    return Deliveries.model_validate({"items": _resend_dead_letters(_ae_title(body.destination))})


@endpoint(blueprint, "POST", "/api/v1/admin/priors/again", may=ADMINISTER, answers={200: Count})
def fetch_again() -> Count:
    """Retry the retrieval of missing priors."""
    return Count(count=_fetch_again())


def _ae_title(text: str) -> str | None:
    if len(text) > MAX_AE_TITLE:
        raise BadRequestError("Unknown destination.", code="bad_destination")
    return text or None


def _resend(delivery_id: str) -> DeliveryRecord:
    with current_services().database.begin() as session:
        return deliveries.resend(session, delivery_id, requested_by=principal().name)


def _resend_dead_letters(destination: str | None) -> tuple[DeliveryRecord, ...]:
    with current_services().database.begin() as session:
        return deliveries.resend_dead_letters(session, requested_by=principal().name, destination=destination)


def _retry_results(analysis_id: str) -> tuple[ResultFailure, ...]:
    with current_services().database.begin() as session:
        return result_failures.retry_failures(session, requested_by=principal().name, analysis_id=analysis_id)


def _fetch_again() -> int:
    with current_services().database.begin() as session:
        return priors.retry_failed(session, requested_by=principal().name)
