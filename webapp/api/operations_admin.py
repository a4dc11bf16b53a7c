"""What can be asked for looking after the service: trail, drift, nodes, deliveries, scanners."""

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
        "Only those of this status; `failed` are the dead letters.",
    ),
)
ADMIN = "/api/v1/admin"
ADMINISTRATION = (
    Operation("get", "/audit", "The audit trail as a page", {200: HTML}, (400,), query=AUDIT_QUERY),
    Operation("get", "/audit/results/{analysis_id}", "The whole story of one result", {200: HTML}, (404,)),
    Operation("get", "/monitoring", "Drift and calibration of the model in use, as a page", {200: HTML}, (503,)),
    Operation("get", "/admin", "Peers, destinations, deliveries and jobs as a page", {200: HTML}),
    Operation("get", ADMIN, "Peers, destinations, dead letters and jobs", {200: OverviewShape}, (503,)),
    Operation(
        "get",
        ADMIN + "/deliveries",
        "Deliveries, those that changed last first",
        {200: DeliveriesShape},
        (400, 503),
        query=DELIVERY_QUERY,
    ),
    Operation("post", ADMIN + "/deliveries/{delivery_id}/resend", "Send again", {200: DeliveryShape}, (404, 503)),
    Operation(
        "post",
        ADMIN + "/dead-letters/resend",
        "Send everything again that was given up",
        {200: DeliveriesShape},
        (400, 415, 422, 503),
        body=ResendShape,
    ),
    Operation(
        "post",
        ADMIN + "/results/{analysis_id}/retry",
        "Make result objects again that could not be made",
        {200: ResultFailuresShape},
        (404, 503),
    ),
    Operation(
        "post",
        ADMIN + "/priors/again",
        "Fetch earlier studies again that were given up",
        {200: CountShape},
        (503,),
    ),
    Operation("get", "/admin/candidate", "How the candidate model compares, as a page", {200: HTML}),
    Operation("get", ADMIN + "/candidate", "How the candidate model compares", {200: CandidateShape}, (503,)),
    Operation("get", ADMIN + "/scanners", "Scanners, and which are held", {200: ScannersShape}, (503,)),
    Operation(
        "post",
        ADMIN + "/scanners/{key}/hold",
        "Keep what comes from a scanner from readers",
        {200: ScannerShape},
        (400, 404, 415, 422, 503),
        body=HoldScannerShape,
    ),
    Operation(
        "post",
        ADMIN + "/scanners/{key}/release",
        "Show what comes from a scanner from now on",
        {200: ScannerShape},
        (400, 404, 415, 422, 503),
        body=ReleaseScannerShape,
    ),
)
