"""The candidate model: comparison on judged findings, for administrators only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from db.analyses import findings, shadow
from db.analyses.pathology import NewPathology, import_pathology
from db.analyses.promotions import PromotedBundle, live_promotion, promote, roll_back
from db.domain.accounts import Role
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding, Verdict
from db.domain.models import ModelIdentity
from db.domain.reasons import Reason
from inference.drift.comparison import Conclusion
from tests.support.webapp_doubles import MODEL, add_study, finding_at, finish
from tests.unit.webapp.api.test_openapi import answer_schema, problems
from tests.unit.webapp.conftest import Web
from webapp.operations.model_comparison import Against, CandidateReport, candidate_report

SECOND = ModelIdentity("nodule", "2.0", "b" * 64)
HTML = {"Accept": "text/html"}
APART_MM = 30.0


def numbered_finding(number: int, malignancy: float | None, *, off_mm: float = 0.0) -> NewFinding:
    return finding_at("", 10, 20, malignancy=malignancy, position_mm=(APART_MM * number + off_mm, 0.0, 0.0))


def tried(
    web: Web,
    live: list[float | None],
    second: list[NewFinding],
    verdicts: list[Verdict | None],
    reasons: tuple[Reason, ...] = (),
) -> None:
    """A study with findings in a row, what the second model says of it, and what a reader said of each."""
    study = add_study(web.database, patient_id=f"P{np.random.default_rng().integers(1 << 40)}")
    sop = study.sop_instance_uids[0]
    result = [replace(numbered_finding(i, value), sop_instance_uid=sop) for i, value in enumerate(live)]
    analysis_id = finish(web.database, study, result)
    with web.database.begin() as session:
        shadow.record_shadow_run(session, analysis_id, SECOND, AnalysisOutcome(tuple(second), reasons))
        for record, verdict in zip(findings.findings_of_analysis(session, analysis_id), verdicts, strict=True):
            if verdict is not None:
                findings.record_assessment(session, record.id, verdict, "", "", reader="reader")


def report_of(web: Web) -> CandidateReport:
    with web.database.read() as session:
        return candidate_report(session, SECOND)


def test_findings_are_paired_by_place_and_each_that_does_not_count_says_why(web: Web) -> None:
    accept, reject = Verdict.ACCEPT, Verdict.REJECT
    second = [
        numbered_finding(0, 0.9, off_mm=4.9),
        numbered_finding(1, 0.2, off_mm=5.1),
        numbered_finding(2, None),
        numbered_finding(3, 0.5),
        numbered_finding(4, 0.6),
    ]
    tried(web, [0.8, 0.3, 0.4, None, 0.7, 0.6], second, [accept, reject, reject, accept, Verdict.UNSURE, None])
    tried(web, [0.5], [], [accept], reasons=(Reason("analysis_timeout", "Takes too long."),))
    result = report_of(web)
    assert (result.live, result.candidate, result.series_count) == (MODEL, SECOND, 2)
    assert result.left_out == {
        "not_found_by_the_second": 1,
        "series_without_second_answer:analysis_timeout": 1,
        "unsure": 1,
        "without_probability_of_the_live": 1,
        "without_probability_of_the_second": 1,
        "without_verdict": 1,
    }
    assert (result.comparison.n, result.comparison.positives) == (1, 1)
    assert result.comparison.conclusion is Conclusion.TOO_FEW


def test_of_two_findings_near_one_the_nearer_is_its_pair(web: Web) -> None:
    tried(web, [0.8], [numbered_finding(0, 0.1, off_mm=3.0), numbered_finding(0, 0.9, off_mm=1.0)], [Verdict.ACCEPT])
    assert report_of(web).comparison.n == 1
    assert report_of(web).left_out == {}


@pytest.fixture
def many(locked: Web) -> Web:
    """Thirty patients of two findings each, which the second model ranks better."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        live = np.clip([0.55 + rng.normal() * 0.25, 0.45 + rng.normal() * 0.25], 0.01, 0.99)
        second = np.clip([0.8 + rng.normal() * 0.1, 0.2 + rng.normal() * 0.1], 0.01, 0.99)
        described = [numbered_finding(number, float(value)) for number, value in enumerate(second)]
        tried(locked, [float(value) for value in live], described, [Verdict.ACCEPT, Verdict.REJECT])
    return locked


def test_pathology_counts_before_verdicts_where_it_is_enough(many: Web) -> None:
    assert report_of(many).judged_by is Against.VERDICTS
    with many.database.begin() as session:
        for pair in shadow.pairs(session, SECOND.sha256):
            for record in pair.live:  # against what readers said of every finding
                malignant = record.assessment is not None and record.assessment.verdict is Verdict.REJECT
                report = NewPathology("", record.series_instance_uid, record.id, None, malignant, "2026-03-01", "lab")
                import_pathology(session, report, imported_by="chief")
    result = report_of(many)
    assert (result.judged_by, result.comparison.n) == (Against.PATHOLOGY, 60)
    assert result.comparison.conclusion is Conclusion.WORSE
    with many.database.read() as session:
        by_verdicts = candidate_report(session, SECOND, against=Against.VERDICTS)
    assert by_verdicts.comparison.conclusion is Conclusion.BETTER


def test_an_administrator_sees_the_table_and_programs_the_same(many: Web) -> None:
    page = many.client().get("/admin/candidate", headers=many.bearer(Role.ADMIN) | HTML).text
    assert "Better than the live model" in page
    assert "Brier score" in page
    described = many.client().get("/api/v1/admin/candidate", headers=many.bearer(Role.ADMIN))
    assert problems(described.json, answer_schema("get", "/api/v1/admin/candidate", 200)) == []
    result = described.get_json()["report"]["comparison"]
    assert (result["n"], result["positives"], result["patients"], result["conclusion"]) == (60, 30, 30, "better")
    assert result["auc"]["p"] < 0.01
    assert result["auc"]["second"] > result["auc"]["first"]
    for role in (Role.RADIOLOGIST, Role.AUDITOR, Role.SERVICE):
        assert many.client().get("/admin/candidate", headers=many.bearer(role)).status_code == 403
        assert many.client().get("/api/v1/admin/candidate", headers=many.bearer(role)).status_code == 403


def test_the_page_lists_who_changed_the_live_model_and_why(web: Web) -> None:
    bundle = PromotedBundle(SECOND, "d" * 64, ("models/d/bundle.json",))
    with web.database.begin() as session:
        promote(session, bundle, by="chief", reason="sees more", figures={}, is_forced=True)
        roll_back(session, by="chief", reason="complaints")
    page = web.client().get("/admin/candidate", headers=HTML).text
    for described in ("promoted (by force)", "Sees more.", "rolled back", "Complaints.", "the model of the settings"):
        assert described in page, described


def test_an_administrator_goes_back_with_a_reason(locked: Web) -> None:
    bundle = PromotedBundle(SECOND, "d" * 64, ("models/d/bundle.json",))
    with locked.database.begin() as session:
        promote(session, bundle, by="chief", reason="sees more", figures={}, is_forced=True)
    client, token = locked.signed_in(Role.ADMIN)
    assert "Roll back" in client.get("/admin/candidate", headers=HTML).text
    path = "/admin/candidate/rollback"
    assert client.post(path, data={"reason": "complaints"}).status_code == 403
    assert client.post(path, data={"reason": "", "csrf_token": token}).status_code == 422
    assert client.post(path, data={"reason": "complaints", "csrf_token": token}).status_code == 303
    with locked.database.read() as session:
        live = live_promotion(session)
    assert live is not None
    assert (live.bundle, live.by, live.reason) == (None, "admin", "complaints")
    assert client.post(path, data={"reason": "again", "csrf_token": token}).status_code == 404
    assert "Roll back" not in client.get("/admin/candidate", headers=HTML).text


def test_where_no_model_was_tried_the_page_says_how(web: Web) -> None:
    assert "LUNGNODE_MODEL__SHADOW_BUNDLE" in web.client().get("/admin/candidate", headers=HTML).text
    assert web.client().get("/api/v1/admin/candidate").json == {"report": None}
