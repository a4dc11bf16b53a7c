"""Administration: peers, destinations, deliveries, dead letters, jobs. Every action is audited."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as BaseResponse

from db.analyses import analyses, quarantine
from db.domain.exchange import PriorShortfall, ResultFailure
from db.domain.records import AnalysisRecord, DeliveryRecord, DeliveryStatus
from db.intake import priors
from db.monitoring import association_log, faults
from db.read_models import operations
from db.results import deliveries
from db.results import failures as result_failures
from webapp.accounts.identity import principal
from webapp.api import serializers
from webapp.api.shapes_admin import CountShape, DeliveriesShape, OverviewShape, ResendShape, ResultFailuresShape
from webapp.api.shapes_studies import DeliveryShape
from webapp.endpoints import ADMINISTER, HTML, endpoint
from webapp.http import forms
from webapp.http.errors import BadRequestError, NotFoundError
from webapp.services.registry import current_services

blueprint = Blueprint("admin", __name__)

MAX_AE_TITLE = 16
DELIVERY_QUERY = (
    (
        "status",
        {"type": "string", "enum": ["pending", "sent", "committed", "failed", "declined"]},
        "Only deliveries with this status; `failed` are the dead letters.",
    ),
)


@dataclass(frozen=True, slots=True)
class Overview:
    """Data of the administration page."""

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


def _overview(session: Session) -> Overview:
    return Overview(
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


@endpoint(blueprint, "GET", "/api/v1/admin", may=ADMINISTER, answers={200: OverviewShape})
def overview() -> Response:
    """Peers, destinations, dead letters and jobs."""
    with current_services().database.read() as session:
        content = _overview(session)
    options = current_services().options
    return jsonify(
        peers=[serializers.node(node) for node in options.peers],
        destinations=[serializers.destination(node, content.loads) for node in options.destinations],
        dead_letters=[serializers.delivery(record) for record in content.dead_letters],
        dead_letter_count=content.dead_letter_count,
        result_failures=[serializers.result_failure(record) for record in content.result_failures],
        result_failure_count=content.result_failure_count,
        jobs=[serializers.analysis(record) for record in content.jobs],
        prior_shortfalls=[serializers.prior_shortfall(record) for record in content.shortfalls],
        associations=[serializers.association(record) for record in content.associations],
        faults=[serializers.fault(record) for record in content.faults],
    )


@endpoint(
    blueprint, "GET", "/api/v1/admin/deliveries", may=ADMINISTER, answers={200: DeliveriesShape}, query=DELIVERY_QUERY
)
def delivery_listing() -> Response:
    """Deliveries, latest change first."""
    status_text = request.args.get("status") or None
    if status_text is not None and status_text not in set(DeliveryStatus):
        raise BadRequestError("Unknown status.", code="bad_status")
    status = DeliveryStatus(status_text) if status_text else None
    with current_services().database.read() as session:
        records = operations.recent_deliveries(session, status=status)
    return jsonify(items=[serializers.delivery(record) for record in records])


@endpoint(
    blueprint,
    "POST",
    "/api/v1/admin/deliveries/<hex_id:delivery_id>/resend",
    may=ADMINISTER,
    answers={200: DeliveryShape},
)
def resend(delivery_id: str) -> Response:
    """Resend an object."""
    return jsonify(serializers.delivery(_resend(delivery_id)))


@endpoint(
    blueprint,
    "POST",
    "/api/v1/admin/results/<hex_id:analysis_id>/retry",
    may=ADMINISTER,
    answers={200: ResultFailuresShape},
)
def retry_results(analysis_id: str) -> Response:
    """Retry the creation of result objects."""
    return jsonify(items=[serializers.result_failure(record) for record in _retry_results(analysis_id)])


@endpoint(
    blueprint,
    "POST",
    "/api/v1/admin/dead-letters/resend",
    may=ADMINISTER,
    answers={200: DeliveriesShape},
    errors=(422,),
    body=ResendShape,
)
def resend_all() -> Response:
    """Resend failed deliveries."""
    body = forms.json_body() if request.data else {}
    sent = _resend_dead_letters(_ae_title(forms.text_of(body, "destination")))
    return jsonify(items=[serializers.delivery(record) for record in sent])


@endpoint(blueprint, "POST", "/api/v1/admin/priors/again", may=ADMINISTER, answers={200: CountShape})
def fetch_again() -> Response:
    """Retry the retrieval of missing priors."""
    return jsonify(count=_fetch_again())


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
