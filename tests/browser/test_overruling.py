"""A radiologist overrules a refusal in the viewer: with a reason, by a dialog, and only what can be overruled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, Request, Route, expect

from db.accounts import users
from db.analyses import analyses
from db.audit import trail as audit
from db.domain.accounts import Role
from db.domain.analyses import AnalysisOutcome, AnalysisRecord
from db.domain.findings import NewFinding
from db.domain.reasons import Reason
from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.spec import NoduleKind, NoduleSpec, Phantom, PhantomSpec
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.series.pipeline import Analyzer, analyse_series
from dicom_node.series.types import StoredInstance
from inference.loading import Models
from tests.browser.conftest import Site, intercept
from tests.browser.test_accessibility import axe, serious
from tests.support.factories import CtSeries, Defects, ct_series
from tests.support.fast_analyzer import FastAnalyzer
from tests.support.webapp_doubles import MODEL, Study, uid

__all__ = ["axe"]

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"
SLICES = 20
REASON = "Only this reconstruction was sent."
DERIVED: dict[str, object] = {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}
LOSSY: dict[str, object] = {"LossyImageCompression": "01"}


def refused_study(site: Site, attributes: dict[str, object]) -> tuple[Study, tuple[Path, ...]]:
    """A study that the gate refuses for its attributes."""
    seed = uid()
    identity = SeriesIdentity(patient_name="Phantom^Refused", patient_id=seed[-12:], uid_seed=seed)
    written = ct_series(
        site.folder / seed,
        n=SLICES,
        rows=48,
        spacing_mm=(2.5, 0.7, 0.7),
        identity=identity,
        defects=Defects(attributes=attributes),
    )
    study = site.index(written)
    with site.database.begin() as session:
        record = analyses.request_analysis(session, study.series_id, MODEL, requested_by="system")
    analyse(site, record, written.paths)
    return study, written.paths


def analyse(
    site: Site, record: AnalysisRecord, paths: tuple[Path, ...], analyzer: Analyzer | None = None
) -> AnalysisOutcome:
    """Answer an analysis as the worker does: the real gate and pipeline on the stored files."""
    overruled = frozenset(reason.code for reason in record.overruled)
    instances = [StoredInstance("", path) for path in paths]
    outcome = analyse_series(instances, analyzer or FastAnalyzer(), overruled=overruled)
    with site.database.begin() as session:
        analyses.start_analysis(session, record.id)
        analyses.complete_analysis(session, record.id, outcome)
    return outcome


def pending(site: Site, study: Study) -> list[AnalysisRecord]:
    with site.database.read() as session:
        return [one for one in analyses.pending_analyses(session) if one.series_id == study.series_id]


def opened(page: Page, site: Site, study: Study) -> Page:
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    expect(page.locator("[data-pane][data-name=main]")).to_have_attribute("data-shown", str(SLICES // 2))
    return page


def button(page: Page) -> Locator:
    return page.locator("[data-overrule]")


def dialog(page: Page) -> Locator:
    return page.get_by_role("dialog", name="Analyse anyway")


def requests_of(page: Page) -> list[Request]:
    """Requests to overrule that the page sends from now on."""
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith("/overruled") else None)
    return sent


def overrule(page: Page) -> None:
    """Give the reason and send it."""
    button(page).click()
    expect(dialog(page).locator("[data-overrule-refusals] li")).to_have_count(1)
    page.keyboard.type(REASON)  # the dialog opens with its field focused, and the viewer's keys do nothing
    expect(dialog(page).locator("[data-overrule-length]")).to_have_text(f"{len(REASON)} of 2000 characters")
    dialog(page).get_by_role("button", name="Analyse anyway").click()
    expect(dialog(page)).to_be_hidden()
    expect(page.locator("[data-state]")).to_contain_text("Queued")
    expect(button(page)).to_be_hidden()


@pytest.mark.parametrize(
    ("codes", "attributes"),
    [(("derived",), DERIVED), (("lossy",), LOSSY), (("derived", "lossy"), DERIVED | LOSSY)],
)
def test_a_refused_series_is_analysed_on_a_reason_and_the_doubt_is_shown(
    site: Site, open_page: Callable[..., Page], codes: tuple[str, ...], attributes: dict[str, object]
) -> None:
    study, paths = refused_study(site, attributes)
    page = opened(open_page(), site, study)
    for count in range(1, len(codes) + 1):  # the gate names one refusal at a time
        overrule(page)
        (record,) = pending(site, study)
        assert record.overruled == tuple(Reason(code, REASON) for code in codes[:count])
        with site.database.read() as session:
            (event,) = audit.about(session, [record.id], actions=["refusal:overruled"])
        assert event.event.details == {"codes": [codes[count - 1]], "reason": REASON}
        outcome = analyse(site, record, paths)
    assert outcome.is_analysed
    expect(page.locator("[data-state]")).to_contain_text("Analysed")
    for code in codes:
        expect(page.locator(f"[data-caveat=overruled_{code}]")).to_contain_text("at the request of a radiologist")
    expect(button(page)).to_be_hidden()


def grainy_phantom() -> Phantom:
    """A chest with one nodule whose noise has an unusual grain: its power peaks at 0.25 per pixel along the rows."""
    nodule = NoduleSpec(NoduleKind.SOLID, 14.0, side="left")
    spec = PhantomSpec(slices=28, slice_spacing_mm=2.0, noise_hu=8.0, vessels=False, nodules=(nodule,))
    phantom = make_phantom(spec)
    size, white = phantom.volume_hu.shape[1:], np.random.default_rng(0)
    down, across = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None]
    power = np.exp(-(((across - 0.25) / 0.05) ** 2) - (down / 0.15) ** 2)
    volume_hu = np.empty_like(phantom.volume_hu)
    for source, target in zip(phantom.volume_hu, volume_hu, strict=True):
        noise = np.fft.irfft2(np.fft.rfft2(white.standard_normal(size)) * power, s=size)
        target[:] = np.clip(source + noise * (20.0 / noise.std()), -1024, 3071)
    return replace(phantom, volume_hu=volume_hu)


def test_findings_refused_for_the_measured_kernel_are_rated_on_a_reason(
    site: Site, open_page: Callable[..., Page], shipped_models: Models
) -> None:
    """The shipped models refuse to rate the nodule for its grain alone, and rate it once that is overruled."""
    phantom, analyzer, seed = grainy_phantom(), shipped_models.nodule, uid()
    identity = SeriesIdentity(patient_name="Phantom^Sharp", patient_id=seed[-12:], uid_seed=seed)
    written = ct_series(
        site.folder / seed, volume_hu=phantom.volume_hu, spacing_mm=phantom.spacing_mm, identity=identity
    )
    study = site.index(written)
    with site.database.begin() as session:
        first = analyses.request_analysis(session, study.series_id, MODEL, requested_by="system")
    refused = nodule_of(analyse(site, first, written.paths, analyzer), written, phantom)
    assert ([reason.code for reason in refused.reasons], refused.malignancy_probability) == (["kernel"], None)
    page = open_page()
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    expect(page.locator("[data-findings]")).to_contain_text("reconstruction kernel differs from those validated")
    overrule(page)
    (record,) = pending(site, study)
    assert record.overruled == (Reason("kernel", REASON),)
    rated = nodule_of(analyse(site, record, written.paths, analyzer), written, phantom)
    assert (rated.reasons, rated.malignancy_probability is not None) == ((), True)
    expect(page.locator("[data-state]")).to_contain_text("Analysed")
    expect(page.locator("[data-caveat=overruled_kernel]")).to_contain_text("at the request of a radiologist")
    expect(page.locator("[data-findings]")).not_to_contain_text("reconstruction kernel differs from those validated")
    expect(button(page)).to_be_hidden()


def nodule_of(outcome: AnalysisOutcome, written: CtSeries, phantom: Phantom) -> NewFinding:
    """Return the finding at the phantom's nodule."""
    centre = written.position_mm(phantom.nodules[0].index)
    finding = min(outcome.findings, key=lambda finding: math.dist(finding.position_mm, centre))
    assert math.dist(finding.position_mm, centre) < 5.0
    return finding


def test_the_dialog_is_accessible(site: Site, open_page: Callable[..., Page], axe: str) -> None:
    page = opened(open_page(), site, refused_study(site, DERIVED)[0])
    button(page).click()
    expect(dialog(page).get_by_label("Reason")).to_be_focused()
    assert serious(page, axe) == []


def by_escape(page: Page) -> None:
    page.keyboard.press("Escape")


def by_cancel(page: Page) -> None:
    dialog(page).get_by_role("button", name="Cancel").click()


@pytest.mark.parametrize(("dismiss", "text_after"), [(by_escape, REASON), (by_cancel, "")])
def test_nothing_is_sent_when_the_dialog_is_dismissed(
    site: Site, open_page: Callable[..., Page], dismiss: Callable[[Page], None], text_after: str
) -> None:
    study, _ = refused_study(site, DERIVED)
    page = opened(open_page(), site, study)
    sent = requests_of(page)
    button(page).click()
    page.keyboard.type(REASON)
    dismiss(page)
    expect(dialog(page)).to_be_hidden()
    expect(page).to_have_url(f"{site.url}/studies/{study.study_instance_uid}")
    button(page).click()
    expect(dialog(page).get_by_label("Reason")).to_have_value(text_after)
    assert (sent, pending(site, study)) == ([], [])


@pytest.mark.parametrize("text", ["", "   "])
def test_nothing_is_sent_without_a_reason(site: Site, open_page: Callable[..., Page], text: str) -> None:
    study, _ = refused_study(site, DERIVED)
    page = opened(open_page(), site, study)
    sent = requests_of(page)
    button(page).click()
    page.keyboard.type(text)
    dialog(page).get_by_role("button", name="Analyse anyway").click()
    if text:
        expect(dialog(page).get_by_role("alert")).to_have_text("A reason is needed.")
    expect(dialog(page)).to_be_visible()
    assert (sent, pending(site, study)) == ([], [])


def test_a_reason_that_is_too_long_ends_at_the_limit_and_says_so(site: Site, open_page: Callable[..., Page]) -> None:
    page = opened(open_page(), site, refused_study(site, DERIVED)[0])
    button(page).click()
    page.keyboard.insert_text("x" * 2100)
    expect(dialog(page).locator("[data-overrule-length]")).to_have_text("2000 of 2000 characters")


@pytest.mark.parametrize("status", [0, 401, 503])
def test_a_reason_stays_where_it_could_not_be_sent(site: Site, open_page: Callable[..., Page], status: int) -> None:
    study, _ = refused_study(site, DERIVED)
    page = opened(open_page(), site, study)
    failures = [status]

    def fail_once(route: Route) -> None:
        if not failures:
            route.continue_()
        elif failures.pop() == 0:
            route.abort()
        else:
            route.fulfill(status=status, json={"error": {"code": "x", "message": "Not now.", "reference": "r"}})

    intercept(page, "**/overruled", fail_once)
    button(page).click()
    page.keyboard.type(REASON)
    dialog(page).get_by_role("button", name="Analyse anyway").click()
    expect(dialog(page).get_by_role("alert")).to_contain_text("Not now." if status else "cannot be reached")
    expect(dialog(page).get_by_label("Reason")).to_have_value(REASON)
    dialog(page).get_by_role("button", name="Analyse anyway").click()
    expect(dialog(page)).to_be_hidden()
    assert [one.overruled for one in pending(site, study)] == [(Reason("derived", REASON),)]


@pytest.mark.parametrize(
    "attributes",
    [
        {"RescaleSlope": None},
        {"RescaleType": "OD"},
        {"BurnedInAnnotation": "YES"},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
    ],
)
def test_what_makes_an_answer_wrong_has_no_button(
    site: Site, open_page: Callable[..., Page], attributes: dict[str, object]
) -> None:
    study, _ = refused_study(site, attributes)
    page = open_page()
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    expect(page.locator("[data-reasons]")).to_be_visible()
    expect(button(page)).to_be_hidden()


def test_the_button_appears_with_the_refusal(site: Site, open_page: Callable[..., Page]) -> None:
    study, paths = refused_study(site, DERIVED)
    with site.database.begin() as session:
        (record,) = analyses.request_reanalysis(session, study.study_instance_uid, MODEL, requested_by="x")
    page = opened(open_page(), site, study)
    expect(button(page)).to_be_hidden()
    analyse(site, record, paths)
    expect(button(page)).to_be_visible()


@pytest.mark.parametrize(("role", "count"), [(Role.RADIOLOGIST, 1), (Role.ADMIN, 0)])
def test_only_a_radiologist_has_the_button(
    locked_site: Site, open_page: Callable[..., Page], role: Role, count: int
) -> None:
    with locked_site.database.begin() as session:
        users.add_user(session, f"person-{role}", PASSWORD, role)
    study, _ = refused_study(locked_site, DERIVED)
    page = open_page()
    page.goto(f"{locked_site.url}/studies/{study.study_instance_uid}")
    page.fill("#name", f"person-{role}")
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**/studies/{study.study_instance_uid}")
    expect(page.locator("[data-reasons]")).to_be_visible()
    expect(button(page)).to_have_count(count)
    if count:
        expect(button(page)).to_be_visible()
