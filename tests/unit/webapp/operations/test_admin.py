"""Administration pages and the timeline of a result: permissions, content and audit events."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from db.analyses import findings
from db.audit import trail as audit
from db.domain.accounts import Role
from db.domain.deliveries import DeliveryStatus
from db.domain.exchange import PriorStatus
from db.domain.findings import Verdict
from db.domain.studies import StudyState
from db.intake import priors
from db.monitoring import association_log
from db.monitoring.association_log import AssociationEvent
from db.results import deliveries
from tests.support.records import delivery_record
from tests.support.webapp_doubles import Study, add_study, finding_at, finish, put_in_state
from tests.unit.webapp.conftest import Web
from webapp.options import Node

NODES = {
    "peers": (Node("PACS", "192.0.2.1", "associate and store"),),
    "destinations": (Node("ARCHIVE", "192.0.2.2:104", "storage commitment"), Node("QUIET", "192.0.2.3:104")),
}
FAR = datetime(2100, 1, 1, tzinfo=UTC)
HTML = {"Accept": "text/html"}


def delivered(web: Web, status: DeliveryStatus, *, destination: str = "ARCHIVE", number: int = 1) -> tuple[str, str]:
    """An analysed study whose report got so far; gives the ids of analysis and delivery."""
    study = add_study(web.database, name="CANARY^PHI", patient_id="CANARY-ID")
    analysis_id = finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20)])
    with web.database.begin() as session:
        record = deliveries.request_delivery(
            session,
            analysis_id=analysis_id,
            sop_instance_uid=f"{study.study_instance_uid}.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
            kind="sr",
            destination=destination,
            path="results/x.dcm",
        )
        if status is not DeliveryStatus.PENDING:
            deliveries.record_delivery(session, record.id, status, "connection refused")
    return analysis_id, record.id


def events(web: Web, action: str) -> list[tuple[str, str]]:
    with web.database.read() as session:
        entries = audit.recent(session, limit=500)
    return [(entry.event.actor, entry.event.subject) for entry in entries if entry.event.action == action]


def test_the_page_shows_nodes_dead_letters_and_jobs_and_no_patient(make_web: Callable[..., Web]) -> None:
    web = make_web(**NODES)
    delivered(web, DeliveryStatus.FAILED)
    put_in_state(web.database, add_study(web.database, name="CANARY^PHI"), StudyState.FAILED)
    page = web.client().get("/admin", headers=HTML).text
    for described in ("ARCHIVE", "192.0.2.2:104", "PACS", "Connection refused.", "dead letter", "Run again"):
        assert described in page, described
    assert "CANARY" not in page


def test_an_empty_node_says_what_to_do(web: Web) -> None:
    page = web.client().get("/admin", headers=HTML).text
    assert "LUNGNODE_DICOM__DESTINATIONS" in page
    assert "No failed deliveries." in page


def test_the_api_states_the_same(make_web: Callable[..., Web]) -> None:
    web = make_web(**NODES)
    analysis_id, delivery_id = delivered(web, DeliveryStatus.FAILED)
    delivered(web, DeliveryStatus.SENT)
    described = web.client().get("/api/v1/admin").get_json()
    assert [entry["id"] for entry in described["dead_letters"]] == [delivery_id]
    assert described["dead_letters"][0]["analysis_id"] == analysis_id
    archive, quiet = described["destinations"]
    assert (archive["deliveries"]["failed"], archive["deliveries"]["sent"]) == (1, 1)
    assert archive["last_sent_at"] is not None
    assert (quiet["deliveries"]["failed"], quiet["last_sent_at"]) == (0, None)
    listed = web.client().get("/api/v1/admin/deliveries?status=failed").get_json()["items"]
    assert [entry["id"] for entry in listed] == [delivery_id]
    assert web.client().get("/api/v1/admin/deliveries?status=lost").status_code == 400


@pytest.mark.parametrize("path", ["/admin/deliveries/{}/resend", "/api/v1/admin/deliveries/{}/resend"])
def test_a_dead_letter_is_sent_again_and_that_is_on_record(web: Web, path: str) -> None:
    _, delivery_id = delivered(web, DeliveryStatus.FAILED)
    response = web.client().post(path.format(delivery_id))
    assert response.status_code == (200 if path.startswith("/api") else 303)
    with web.database.read() as session:
        record = delivery_record(session, delivery_id)
        assert [one.id for one in deliveries.pending_deliveries(session, now=datetime.now(UTC))] == [delivery_id]
    assert record is not None
    assert (record.status, record.attempts, record.reason) == (DeliveryStatus.PENDING, 0, "")
    assert events(web, "delivery:resent") == [("local", delivery_id)]


def test_all_dead_letters_or_those_of_one_destination_are_sent_again(web: Web) -> None:
    _, archive = delivered(web, DeliveryStatus.FAILED)
    _, other = delivered(web, DeliveryStatus.FAILED, destination="OTHER", number=2)
    sent = web.client().post("/api/v1/admin/dead-letters/resend", json={"destination": "OTHER"}).get_json()["items"]
    assert [entry["id"] for entry in sent] == [other]
    assert web.client().post("/admin/dead-letters/resend").status_code == 303
    assert events(web, "delivery:resent") == [("local", archive), ("local", other)]
    assert web.client().get("/api/v1/admin").get_json()["dead_letter_count"] == 0


@pytest.fixture
def short(web: Web) -> Web:
    """A node to which 3 of 12 instances of an earlier study came, and where another search reached no PACS."""
    study = add_study(web.database, name="CANARY^PHI")
    other = add_study(web.database)
    with web.database.begin() as session:
        priors.begin_searches(session, "PACS")
        ids = {one.study_instance_uid: one.study_id for one in priors.due_searches(session, "PACS", now=FAR)}
        priors.record_search(session, ids[study.study_instance_uid], "PACS", PriorStatus.DONE)
        gone = ids[other.study_instance_uid]
        priors.record_search(session, gone, "PACS", PriorStatus.FAILED, "no association: nothing answers")
        priors.request_prior(session, ids[study.study_instance_uid], "PACS", "1.2.999", 12)
        (prior,) = priors.due_priors(session, "PACS", now=FAR)
        status, reason = PriorStatus.INCOMPLETE, "3 of 12 instances arrived: it cancelled"
        priors.record_prior(session, prior.id, status, counts=(12, 3), reason=reason)
    return web


def test_missing_priors_are_listed_with_counts_and_reason(short: Web) -> None:
    page = short.client().get("/admin", headers=HTML).text
    for described in ("3 of 12 instances arrived: it cancelled.", "No association: nothing answers.", "Retrieve again"):
        assert described in page, described
    assert "CANARY" not in page
    listed = short.client().get("/api/v1/admin").get_json()["prior_shortfalls"]
    assert {(one["status"], one["expected_count"], one["received_count"]) for one in listed} == {
        ("incomplete", 12, 3),
        ("failed", None, None),
    }


def test_an_earlier_study_that_came_with_others_is_listed_and_not_fetched_again(web: Web) -> None:
    put_in_state(web.database, add_study(web.database), StudyState.ANALYSED)
    note = "the PACS sent 4 instances of other studies in the meantime"
    with web.database.begin() as session:
        priors.begin_searches(session, "PACS")
        (search,) = priors.due_searches(session, "PACS", now=FAR)
        priors.record_search(session, search.study_id, "PACS", PriorStatus.DONE)
        for uid, reason in (("1.2.998", ""), ("1.2.999", note)):
            priors.request_prior(session, search.study_id, "PACS", uid, 12)
            (prior,) = priors.due_priors(session, "PACS", now=FAR)
            priors.record_prior(session, prior.id, PriorStatus.DONE, counts=(12, 12), reason=reason)
    (listed,) = web.client().get("/api/v1/admin").get_json()["prior_shortfalls"]
    assert (listed["status"], listed["reason"]) == ("done", note)
    page = web.client().get("/admin", headers=HTML).text
    assert "The PACS sent 4 instances of other studies in the meantime." in page
    assert "Retrieve again" not in page


@pytest.mark.parametrize("path", ["/admin/priors/again", "/api/v1/admin/priors/again"])
def test_earlier_studies_that_failed_are_fetched_again(short: Web, path: str) -> None:
    assert short.client().post(path).status_code == (200 if path.startswith("/api") else 303)
    assert short.client().get("/api/v1/admin").get_json()["prior_shortfalls"] == []
    with short.database.read() as session:
        assert [one.attempts for one in priors.due_priors(session, "PACS", now=FAR)] == [0]
        assert len(priors.due_searches(session, "PACS", now=FAR)) == 1
    assert events(short, "priors:requested") == [("local", "")]


@pytest.mark.parametrize(
    ("title", "reason", "setting", "hint"),
    [
        ("CT1", "calling-ae-title", "LUNGNODE_DICOM__PEERS", "Add AE title CT1 at 10.0.0.5 to LUNGNODE_DICOM__PEERS."),
        ("CT1", "address", "LUNGNODE_DICOM__PEERS", "Peer CT1 has another host in LUNGNODE_DICOM__PEERS"),
        ("CT1", "called-ae-title", "LUNGNODE_DICOM__AE_TITLE", "or set LUNGNODE_DICOM__AE_TITLE to LUNGNODE."),
        ("CT1", "busy", "LUNGNODE_DICOM__MAX_ASSOCIATIONS", "Raise LUNGNODE_DICOM__MAX_ASSOCIATIONS."),
        ("CT?", "calling-ae-title", "LUNGNODE_DICOM__PEERS", "characters that are not allowed"),
        ("CT1", "request-item-length", "", "No setting: the peer violated the protocol."),
        ("<b>x</b>", "calling-ae-title", "LUNGNODE_DICOM__PEERS", "Add AE title &lt;b&gt;x&lt;/b&gt; at 10.0.0.5"),
    ],
)
def test_refusals_are_listed_with_the_setting_that_would_allow_them(
    web: Web, title: str, reason: str, setting: str, hint: str
) -> None:
    event = AssociationEvent("10.0.0.5", title, "LUNGNODE", "rejected", reason)
    for count in (1, 2):
        with web.database.begin() as session:
            association_log.record(session, {event: count})
    (listed,) = web.client().get("/api/v1/admin").get_json()["associations"]
    assert (listed["calling_ae_title"], listed["reason"], listed["setting"], listed["count"]) == (
        title,
        reason,
        setting,
        3,
    )
    page = web.client().get("/admin", headers=HTML).text
    assert hint in page
    assert "<b>x</b>" not in page


def test_a_failed_analysis_is_run_again(web: Web) -> None:
    study = add_study(web.database)
    put_in_state(web.database, study, StudyState.FAILED)
    failed = web.client().get("/api/v1/admin").get_json()["jobs"][0]
    assert web.client().post(f"/admin/analyses/{failed['id']}/again").status_code == 303
    jobs = web.client().get("/api/v1/admin").get_json()["jobs"]
    assert [job["status"] for job in jobs] == ["queued", "failed"]
    assert events(web, "analysis:requested")[0] == ("local", jobs[0]["id"])


def test_what_is_not_there_cannot_be_sent(web: Web) -> None:
    for path in ("/admin/deliveries/{}/resend", "/api/v1/admin/deliveries/{}/resend", "/admin/analyses/{}/again"):
        assert web.client().post(path.format("0" * 32)).status_code == 404
    assert web.client().post("/api/v1/admin/dead-letters/resend", json={"destination": "x" * 17}).status_code == 400


def test_only_an_administrator_with_a_form_token_acts(locked: Web) -> None:
    _, delivery_id = delivered(locked, DeliveryStatus.FAILED)
    path = f"/admin/deliveries/{delivery_id}/resend"
    for role in (Role.RADIOLOGIST, Role.AUDITOR, Role.SERVICE):
        assert locked.client().post(path, headers=locked.bearer(role)).status_code == 403
    client, token = locked.signed_in(Role.ADMIN)
    assert client.post(path).status_code == 403
    assert client.post(path, data={"csrf_token": token}).status_code == 303
    assert events(locked, "delivery:resent") == [("admin", delivery_id)]


def reported_result(web: Web) -> tuple[Study, str, str]:
    study = add_study(web.database, name="CANARY^PHI", patient_id="CANARY-ID")
    analysis_id = finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20, malignancy=0.731)])
    web.client().get(f"/studies/{study.study_instance_uid}")
    with web.database.begin() as session:
        (result,) = findings.findings_of_analysis(session, analysis_id)
        findings.record_assessment(
            session, result.id, Verdict.REJECT, "vessel", "a vein, seen end on", reader="reader-1"
        )
        deliveries.request_delivery(
            session, analysis_id=analysis_id, sop_instance_uid="1.2.9", sop_class_uid="1.2", kind="sr",
            destination="ARCHIVE", path="x",
        )  # fmt: skip
    return study, analysis_id, result.id


def test_the_timeline_shows_all_records_of_a_result_and_no_identity(web: Web) -> None:
    study, analysis_id, finding_id = reported_result(web)
    page = web.client().get(f"/audit/results/{analysis_id}").text
    for described in (
        "Fit to analyse", "ab" * 32, "55 to 88 %", "ARCHIVE", "pending", "viewed the study", "reject of finding",
        finding_id[:12], "a vein, seen end on", "reader-1", "analysis:requested", "delivery:requested",
    ):  # fmt: skip
        assert described in page, described
    assert "CANARY" not in page
    assert events(web, "audit:read") == [("local", analysis_id)]
    web.client().get(f"/audit/results/{analysis_id}")
    assert len(events(web, "audit:read")) == 1
    assert f'href="/audit/results/{analysis_id}"' in web.client().get(f"/audit?subject={analysis_id}").text
    assert web.client().get(f"/studies/{study.study_instance_uid}").status_code == 200


def test_the_timeline_of_a_refused_analysis_shows_the_reason(web: Web) -> None:
    study = add_study(web.database)
    put_in_state(web.database, study, StudyState.NOT_ANALYSED)
    with web.database.read() as session:
        (entry,) = [e for e in audit.recent(session) if e.event.action == "analysis:requested"]
    page = web.client().get(f"/audit/results/{entry.event.subject}").text
    assert "Fewer slices than the model needs." in page
    assert "No views." in page
    assert web.client().get(f"/audit/results/{'0' * 32}").status_code == 404
