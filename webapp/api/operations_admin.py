"""API operations of administration: audit trail, drift, nodes, deliveries, scanners."""

from __future__ import annotations

from webapp.api.operations import HTML, Operation
from webapp.api.shapes_admin import (
    CountShape,
    DeliveriesShape,
    HoldScannerShape,
    OverviewShape,
    ReleaseScannerShape,
    ResendShape,
    ResultFailuresShape,
    ScannerShape,
    ScannersShape,
)
from webapp.api.shapes_candidate import CandidateShape
from webapp.api.shapes_studies import DeliveryShape

AUDIT_QUERY = (
    ("subject", {"type": "string", "maxLength": 64}, "Only events about this opaque id."),
    ("before", {"type": "integer", "minimum": 1}, "Only events before this sequence number."),
)
DELIVERY_QUERY = (
    (
        "status",
        {"type": "string", "enum": ["pending", "sent", "committed", "failed", "declined"]},
        "Only deliveries with this status; `failed` are the dead letters.",
    ),
)
ADMIN = "/api/v1/admin"
ADMINISTRATION = (
    Operation("get", "/audit", "The audit trail as a page", {200: HTML}, (400,), query=AUDIT_QUERY),
    Operation("get", "/audit/results/{analysis_id}", "The timeline of one result", {200: HTML}, (404,)),
    Operation("get", "/monitoring", "Drift and calibration of the model in use, as a page", {200: HTML}, (503,)),
    Operation("get", "/admin", "Peers, destinations, deliveries and jobs as a page", {200: HTML}),
    Operation("get", ADMIN, "Peers, destinations, dead letters and jobs", {200: OverviewShape}, (503,)),
    Operation(
        "get",
        ADMIN + "/deliveries",
        "Deliveries, latest change first",
        {200: DeliveriesShape},
        (400, 503),
        query=DELIVERY_QUERY,
    ),
    Operation("post", ADMIN + "/deliveries/{delivery_id}/resend", "Resend an object", {200: DeliveryShape}, (404, 503)),
    Operation(
        "post",
        ADMIN + "/dead-letters/resend",
        "Resend failed deliveries",
        {200: DeliveriesShape},
        (400, 415, 422, 503),
        body=ResendShape,
    ),
    Operation(
        "post",
        ADMIN + "/results/{analysis_id}/retry",
        "Retry the creation of result objects",
        {200: ResultFailuresShape},
        (404, 503),
    ),
    Operation(
        "post",
        ADMIN + "/priors/again",
        "Retry the retrieval of missing priors",
        {200: CountShape},
        (503,),
    ),
    Operation("get", "/admin/candidate", "How the candidate model compares, as a page", {200: HTML}),
    Operation("get", ADMIN + "/candidate", "How the candidate model compares", {200: CandidateShape}, (503,)),
    Operation("get", ADMIN + "/scanners", "Scanners and their quarantine", {200: ScannersShape}, (503,)),
    Operation(
        "post",
        ADMIN + "/scanners/{key}/hold",
        "Put a scanner into quarantine",
        {200: ScannerShape},
        (400, 404, 415, 422, 503),
        body=HoldScannerShape,
    ),
    Operation(
        "post",
        ADMIN + "/scanners/{key}/release",
        "Release a scanner from quarantine",
        {200: ScannerShape},
        (400, 404, 415, 422, 503),
        body=ReleaseScannerShape,
    ),
)
