"""A reader's texts and verdicts are saved, or shown as unsaved: through every event, never silently lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from db.accounts import users
from db.analyses import analyses
from db.domain.accounts import Role
from db.domain.findings import AssessmentRecord
from tests.browser.conftest import Site, intercept
from tests.browser.test_viewer import OWN, findings_of, opened, pane, shows
from tests.support.serve import NODULE
from tests.support.service import until
from tests.support.webapp_doubles import MODEL, Study, add_study, finding_at, finish

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


@pytest.fixture
def study(site: Site) -> Study:
    return site.analysed_study()


@pytest.fixture
def viewer(site: Site, study: Study, open_page: Callable[..., Page]) -> Page:
    return opened(open_page(), site, study)


def comment_of(page: Page) -> Locator:
    return page.locator(".finding.selected").get_by_label("Comment")


def saved(site: Site, study: Study) -> list[AssessmentRecord]:
    """The latest verdict on each finding that has one."""
    return [finding.assessment for finding in findings_of(site, study) if finding.assessment]


def accept_and_write(page: Page, text: str) -> Locator:
    page.keyboard.press("a")
    expect(page.locator(".finding.selected .verdict")).to_have_text("Accepted")
    comment = comment_of(page)
    comment.click()
    page.keyboard.type(text)
    return comment


def wheel(site: Site, study: Study, page: Page) -> None:
    pane(page).hover()
    page.mouse.wheel(0, 100)
    shows(page, OWN + 1)


def other_study(site: Site, study: Study, page: Page) -> None:
    with page.expect_response(f"**/api/v1/studies/{study.study_instance_uid}"):
        add_study(site.database, name="Other^Study", patient_id="OTHER")


def window(site: Site, study: Study, page: Page) -> None:
    page.get_by_role("button", name="Bone").click()


def prior_or_marks(site: Site, study: Study, page: Page) -> None:
    page.get_by_role("button", name="Marks").click()


def other_verdict_and_back(site: Site, study: Study, page: Page) -> None:
    row = page.locator(".finding-row")
    row.nth(1).click()
    page.get_by_role("button", name="Reject").click()
    expect(page.locator(".finding.selected .verdict")).to_have_text("Rejected")
    row.nth(0).click()


def reload(site: Site, study: Study, page: Page) -> None:
    page.reload()
    shows(page, OWN)


def reason(site: Site, study: Study, page: Page) -> None:
    page.get_by_label("Suspicious").check()
    expect(page.locator(".finding.selected .verdict")).to_have_text("Accepted: Suspicious")


@pytest.mark.parametrize(
    "event",
    [wheel, other_study, window, prior_or_marks, other_verdict_and_back, reload, reason],
    ids=lambda f: f.__name__,
)
def test_a_comment_that_is_half_written_survives(
    site: Site, study: Study, viewer: Page, event: Callable[[Site, Study, Page], None]
) -> None:
    comment = accept_and_write(viewer, "half a")
    event(site, study, viewer)
    expect(comment).to_have_value("half a")
    assert {record.comment for record in saved(site, study)} == {""}
    comment.press("End")
    viewer.keyboard.type(" comment")
    viewer.keyboard.press("Enter")
    until(lambda: {record.comment for record in saved(site, study)}, lambda texts: "half a comment" in texts)
    expect(viewer.locator(".draft")).to_have_count(0)
    assert not [record for record in saved(site, study) if record.comment not in ("", "half a comment")]


@pytest.mark.parametrize("event", [wheel, other_study], ids=lambda f: f.__name__)
def test_focus_and_caret_stay_in_the_field(
    site: Site, study: Study, viewer: Page, event: Callable[[Site, Study, Page], None]
) -> None:
    comment = accept_and_write(viewer, "ac")
    viewer.keyboard.press("ArrowLeft")
    handle = comment.element_handle()
    event(site, study, viewer)
    viewer.keyboard.type("b")
    expect(comment).to_have_value("abc")
    assert handle.evaluate("(field) => field.isConnected && field === document.activeElement")


def test_nothing_is_drawn_again_for_another_study(site: Site, study: Study, viewer: Page) -> None:
    expect(viewer.locator("[data-histogram]")).to_be_visible()  # the last things that come by themselves
    expect(viewer.locator("[data-series] .thumb")).to_have_count(1)
    expect(viewer.locator("[data-crop]:not([data-drawn])")).to_have_count(0)
    viewer.evaluate(
        """() => {
          window.drawn = [];
          const describe = ({ type, target }) => `${type} of ${target.nodeName} ${target.className ?? target.data}`;
          const watch = new MutationObserver((changes) => { window.drawn.push(...changes.map(describe)); });
          const kinds = { subtree: true, childList: true, characterData: true };
          watch.observe(document.querySelector("[data-viewer]"), kinds);
        }"""
    )
    other_study(site, study, viewer)
    other_study(site, study, viewer)
    assert viewer.evaluate("window.drawn") == []


def test_the_opacity_slider_is_dragged_through_events(site: Site, study: Study, viewer: Page) -> None:
    viewer.get_by_label("Attention", exact=True).check()
    slider = viewer.get_by_label("Opacity of the map")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    viewer.mouse.move(box["x"] + box["width"] / 2, y)
    viewer.mouse.down()
    opacities = []
    for part in (0.6, 0.7, 0.8, 0.9):
        viewer.mouse.move(box["x"] + box["width"] * part, y)
        opacities.append(float(viewer.locator("[data-attention-image]").get_attribute("opacity") or 0))
        if part == 0.7:
            other_study(site, study, viewer)
    viewer.mouse.up()
    assert opacities == sorted(set(opacities))
    assert opacities[-1] == pytest.approx(0.9, abs=0.06)


def lose(route: Route) -> None:
    route.abort()


def refuse(status: int) -> Callable[[Route], None]:
    body = {"error": {"code": "test", "message": "Refused.", "reference": "0"}}
    return lambda route: route.fulfill(status=status, json=body)


@pytest.mark.parametrize(
    "failure", [lose, *(refuse(status) for status in (409, 422, 500, 503))], ids=["network", "409", "422", "500", "503"]
)
def test_a_verdict_that_cannot_be_saved_says_so_and_is_saved_later(
    site: Site, study: Study, viewer: Page, failure: Callable[[Route], None]
) -> None:
    intercept(viewer, "**/assessment", failure)
    viewer.keyboard.press("r")
    note = viewer.locator(".finding.selected .draft")
    expect(note).to_contain_text("Not saved: Rejected")
    assert saved(site, study) == []
    viewer.reload()
    shows(viewer, OWN)
    expect(note).to_contain_text("Not saved: Rejected")
    viewer.unroute("**/assessment")
    note.get_by_role("button", name="Save").click()
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Rejected")
    expect(note).to_have_count(0)
    assert [record.verdict for record in saved(site, study)] == ["reject"]


def test_verdicts_are_saved_in_the_order_in_which_they_were_given(site: Site, study: Study, viewer: Page) -> None:
    for key in "arur":
        viewer.keyboard.press(key)
    expect(viewer.locator(".finding.selected .verdict")).to_have_text("Rejected")
    expect(viewer.locator(".draft")).to_have_count(0)
    assert [record.verdict for record in saved(site, study)] == ["reject"]


@pytest.mark.parametrize("way", ["key", "link"])
def test_leaving_asks_where_something_is_not_saved(site: Site, study: Study, viewer: Page, way: str) -> None:
    def leave() -> None:
        if way == "link":
            viewer.locator("[data-back]").click()
        else:
            viewer.keyboard.press("Escape")

    comment = accept_and_write(viewer, "unsaved")
    viewer.keyboard.press("Escape")  # leaves the field, and keeps the text
    leave()
    dialog = viewer.get_by_role("dialog", name="Unsaved changes")
    dialog.get_by_role("button", name="Stay").click()
    expect(comment).to_have_value("unsaved")
    leave()
    dialog.get_by_role("button", name="Save").click()
    viewer.wait_for_url("**/worklist")
    assert [record.comment for record in saved(site, study)] == ["unsaved"]


def test_what_is_dropped_is_gone(site: Site, study: Study, viewer: Page) -> None:
    accept_and_write(viewer, "dropped")
    viewer.locator("[data-draft-drop]").click()
    expect(comment_of(viewer)).to_have_value("")
    assert viewer.evaluate("Object.keys(sessionStorage).filter((key) => key.includes('draft'))") == []
    viewer.keyboard.press("Escape")
    viewer.wait_for_url("**/worklist")
    assert [record.comment for record in saved(site, study)] == [""]


def test_text_outlasts_the_analysis_that_it_was_written_on(site: Site, study: Study, viewer: Page) -> None:
    comment = accept_and_write(viewer, "seen before")
    field = comment.element_handle()
    new = finding_at(study.sop_instance_uids[24], NODULE.index[1], NODULE.index[2], malignancy=0.77)
    with site.database.begin() as session:
        analyses.request_analysis(session, study.series_id, MODEL, requested_by="local", force=True)
    finish(site.database, study, [new])
    leftover = viewer.locator(".finding.leftover")
    expect(leftover).to_contain_text("A new analysis has replaced this finding")
    assert field.evaluate("(field) => field.isConnected && field.value") == "seen before"
    expect(viewer.locator(".finding:not(.leftover)")).to_have_count(1)
    viewer.keyboard.type(", bigger")
    viewer.reload()
    expect(leftover.get_by_label("Comment")).to_have_value("seen before, bigger")
    leftover.get_by_role("button", name="Use for the selected finding").click()
    expect(leftover).to_have_count(0)
    expect(comment_of(viewer)).to_have_value("seen before, bigger")
    comment_of(viewer).press("Enter")
    until(lambda: saved(site, study), lambda records: [record.comment for record in records] == ["seen before, bigger"])


# Two readers, and sessions


@pytest.fixture
def sign_in(locked_site: Site, open_page: Callable[..., Page]) -> Callable[..., Page]:
    def make(name: str, study: Study, page: Page | None = None) -> Page:
        with locked_site.database.begin() as session:
            if users.user_record(session, name=name) is None:
                users.add_user(session, name, PASSWORD, Role.RADIOLOGIST)
        page = page or open_page()
        page.goto(f"{locked_site.url}/studies/{study.study_instance_uid}")
        fill_sign_in(page, name)
        page.wait_for_url(f"**/studies/{study.study_instance_uid}")
        shows(page, OWN)
        return page

    return make


def fill_sign_in(page: Page, name: str) -> None:
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_two_readers_see_each_others_verdicts_and_keep_their_own_text(
    locked_site: Site, sign_in: Callable[..., Page]
) -> None:
    study = locked_site.analysed_study()
    first, second = sign_in("anna", study), sign_in("bert", study)
    comment = accept_and_write(first, "growing")
    second.keyboard.press("r")
    expect(second.locator(".finding.selected .verdict")).to_have_text("Rejected")
    comment_of(second).fill("vessel in my eyes")
    comment_of(second).press("Enter")
    expect(first.locator(".finding.selected .finding-tags")).to_contain_text("bert")
    expect(first.locator(".finding.selected .finding-tags")).to_contain_text("vessel in my eyes")
    expect(comment).to_have_value("growing")
    first.keyboard.type(" since 2024")
    first.keyboard.press("Enter")
    expect(second.locator(".finding.selected .finding-tags")).to_contain_text("growing since 2024")
    (latest,) = saved(locked_site, study)
    assert (latest.reader, latest.verdict, latest.comment) == ("anna", "accept", "growing since 2024")
    second.keyboard.press("a")  # the other's words are not saved under this reader's name
    until(lambda: saved(locked_site, study)[0].reader, lambda name: name == "bert")
    assert saved(locked_site, study)[0].comment != "growing since 2024"


def test_a_verdict_given_after_the_session_has_ended_is_saved_after_signing_in_elsewhere(
    locked_site: Site, sign_in: Callable[..., Page]
) -> None:
    study = locked_site.analysed_study()
    page = sign_in("carla", study)
    page.context.clear_cookies()
    page.keyboard.press("a")
    dialog = page.get_by_role("dialog", name="You have been signed out")
    expect(dialog).to_be_visible()
    assert saved(locked_site, study) == []
    tab = page.context.new_page()
    sign_in("carla", study, tab)
    dialog.get_by_role("button", name="save now").click()
    expect(page.locator(".finding.selected .verdict")).to_have_text("Accepted")
    assert [record.reader for record in saved(locked_site, study)] == ["carla"]


def test_text_written_when_the_session_ends_is_there_after_signing_in_again(
    locked_site: Site, sign_in: Callable[..., Page]
) -> None:
    study = locked_site.analysed_study()
    page = sign_in("dora", study)
    accept_and_write(page, "written long")
    page.context.clear_cookies()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="You have been signed out")
    dialog.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url("**/sign-in?**")
    assert "written" not in page.url
    fill_sign_in(page, "dora")
    page.wait_for_url(f"**/studies/{study.study_instance_uid}")
    expect(comment_of(page)).to_have_value("written long")
    page.locator("[data-draft-save]").click()
    expect(page.locator(".draft")).to_have_count(0)
    assert [record.comment for record in saved(locked_site, study)] == ["written long"]


def test_no_other_user_sees_unsaved_texts(locked_site: Site, sign_in: Callable[..., Page]) -> None:
    study = locked_site.analysed_study()
    page = sign_in("emil", study)
    accept_and_write(page, "mine alone")
    page.context.clear_cookies()
    page.goto(f"{locked_site.url}/worklist")
    sign_in("frida", study, page)
    expect(page.locator(".draft, .unsaved")).to_have_count(0)
    assert "mine alone" not in page.evaluate("JSON.stringify(sessionStorage)")


def test_signing_out_asks_and_clears(locked_site: Site, sign_in: Callable[..., Page]) -> None:
    study = locked_site.analysed_study()
    page = sign_in("gina", study)
    comment = accept_and_write(page, "not yet")
    page.get_by_role("button", name="Sign out").click()
    dialog = page.get_by_role("dialog", name="Unsaved changes")
    dialog.get_by_role("button", name="Stay").click()
    expect(comment).to_have_value("not yet")
    page.get_by_role("button", name="Sign out").click()
    dialog.get_by_role("button", name="Discard").click()
    page.wait_for_url(f"{locked_site.url}/")
    assert "not yet" not in page.evaluate("JSON.stringify(sessionStorage)")
