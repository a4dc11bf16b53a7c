"""The worklist: live, by keyboard, filtered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from db.audit import trail as audit
from db.domain.reasons import Reason
from db.domain.studies import StudyState
from tests.browser.conftest import Site, intercept
from tests.support.serve import NODULE
from tests.support.webapp_doubles import add_study, finding_at, finish, put_in_state

pytestmark = pytest.mark.browser


def actions_on_record(site: Site) -> list[str]:
    """Audit events, the latest first, without views of studies."""
    with site.database.read() as session:
        return [entry.event.action for entry in audit.recent(session, limit=10) if entry.event.action != "study:viewed"]


def row_heights(page: Page) -> set[int]:
    """Heights of the rows in CSS pixels."""
    return set(page.locator("tr[data-study]").evaluate_all("(rows) => rows.map((row) => row.offsetHeight)"))


def test_a_study_appears_and_is_answered_without_reloading(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{site.url}/worklist")
    expect(page.locator("[data-live]")).to_have_class("live js-only on")
    study = add_study(site.database, name="Arrives^Later", patient_id="LATER")
    row = page.locator(f"tr[data-study='{study.study_instance_uid}']")
    expect(row).to_contain_text("Receiving")
    expect(row).to_contain_text("Arrives, Later")
    finish(site.database, study)
    expect(row).to_contain_text("Analysed")
    expect(row).to_contain_text("No nodule found")


def test_it_is_used_by_keyboard(site: Site, open_page: Callable[..., Page]) -> None:
    add_study(site.database, name="Keys^Below", patient_id="K-1")
    study = site.analysed_study(name="Keys^Above", patient_id="K-2")
    page = open_page()
    page.goto(f"{site.url}/worklist")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("keys")
    expect(page.locator("tr[data-study]")).to_have_count(2)
    page.wait_for_url("**/worklist?q=keys")  # it is asked for as one types, and "key" finds the same two
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("tr.current")).to_contain_text("Keys, Below")
    page.keyboard.press("k")
    expect(page.locator("tr.current")).to_contain_text("Keys, Above")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/studies/{study.study_instance_uid}")


def test_states_are_filtered(site: Site, open_page: Callable[..., Page]) -> None:
    add_study(site.database, name="State^Receiving", patient_id="S-1")
    page = open_page()
    page.goto(f"{site.url}/worklist")
    page.get_by_text("Receiving", exact=True).first.click()
    expect(page.get_by_text("State, Receiving")).to_be_visible()
    expect(page.locator("tr[data-study] .chip").filter(has_not_text="Receiving")).to_have_count(0)
    expect(page.locator("tr[data-study] .chip").first).to_have_text("Receiving")
    page.wait_for_url("**/worklist?state=receiving")


def test_names_stay_text(site: Site, open_page: Callable[..., Page]) -> None:
    name = "<img src=x onerror=alert(1)>"
    study = site.analysed_study(name=name, patient_id="XSS-1")
    page = open_page()
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"{site.url}/worklist?q=XSS-1")
    expect(page.locator("tr[data-study]")).to_contain_text("<img src")
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    expect(page.locator("[data-pane]")).to_have_attribute("data-shown", "15")
    assert page.locator("img").count() == 0


def test_probability_and_date_are_filtered(site: Site, open_page: Callable[..., Page]) -> None:
    likely = site.analysed_study(name="Narrow^Likely", patient_id="N-1")
    add_study(site.database, name="Narrow^Unknown", patient_id="N-2")
    page = open_page()
    page.goto(f"{site.url}/worklist?q=narrow")
    expect(page.locator("tr[data-study]")).to_have_count(2)
    page.get_by_text("Date, probability").click()
    page.get_by_label("at least").select_option("0.8")
    expect(page.locator("tr[data-study]")).to_have_count(1)
    expect(page.locator(f"tr[data-study='{likely.study_instance_uid}']")).to_contain_text(
        "65 to 94 % (28 of 34 similar)"
    )
    page.get_by_label("from", exact=True).fill("2026-01-15")
    expect(page.get_by_role("heading", name="No matches")).to_be_visible()
    expect(page.locator("[data-narrowed]")).to_have_text("2")
    page.wait_for_url("**/worklist?q=narrow&date_from=2026-01-15&min_probability=0.8")
    page.keyboard.press("Escape")
    expect(page.get_by_label("at least")).to_be_hidden()


def test_a_filter_is_saved_used_and_removed(site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{site.url}/worklist?state=failed")
    page.get_by_role("button", name="Save filter").click()
    page.get_by_label("Name", exact=True).fill("What failed")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Saved as")).to_be_visible()
    page.goto(f"{site.url}/worklist")
    page.get_by_role("link", name="What failed").click()
    page.wait_for_url("**/worklist?state=failed")
    expect(page.get_by_role("link", name="What failed")).to_have_attribute("aria-current", "true")
    page.get_by_role("button", name="Remove the filter What failed").click()
    expect(page.get_by_role("link", name="What failed")).to_have_count(0)


def test_the_likeliest_unread_study_comes_first(site: Site, open_page: Callable[..., Page]) -> None:
    first = site.analysed_study(name="Order^Likely", patient_id="O-1")
    second = add_study(site.database, name="Order^Harmless", patient_id="O-2")
    finish(site.database, second, [finding_at(second.sop_instance_uids[0], 5, 5, malignancy=0.02)])
    page = open_page()
    page.goto(f"{site.url}/worklist?q=order")
    expect(page.locator("tr[data-study]").first).to_contain_text("Order, Harmless")
    page.keyboard.press("p")
    expect(page.locator("tr[data-study]").first).to_contain_text("Order, Likely")
    expect(page.get_by_text("Studies waiting over 4 h move to the top.")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("e")
    expect(page.locator("tr[data-study]").last).to_contain_text("reviewed by local")
    expect(page.locator("tr[data-study]").first).to_contain_text("Order, Harmless")
    page.keyboard.press("u")
    expect(page.locator("tr[data-study]")).to_have_count(1)
    assert actions_on_record(site)[0] == "study:reviewed"
    assert first.study_instance_uid not in page.content()


def test_a_study_is_analysed_again_from_its_row(site: Site, open_page: Callable[..., Page]) -> None:
    study = site.analysed_study(name="Again^Please", patient_id="R-1")
    page = open_page()
    page.goto(f"{site.url}/worklist?q=again")
    page.keyboard.press("j")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog")).to_contain_text("Again, Please")
    page.keyboard.press("Escape")
    expect(page.locator("tr[data-study]")).to_contain_text("Analysed")
    page.keyboard.press("r")
    page.get_by_role("button", name="Analyse again", exact=True).last.click()
    expect(page.locator(f"tr[data-study='{study.study_instance_uid}']")).to_contain_text("Queued")
    assert actions_on_record(site)[0] == "analysis:requested"


def test_a_receiving_study_is_closed_from_its_row(site: Site, open_page: Callable[..., Page]) -> None:
    add_study(site.database, name="Close^Now", patient_id="C-1")
    page = open_page()
    page.goto(f"{site.url}/worklist?q=close")
    page.locator("tr[data-study]").hover()
    page.get_by_role("button", name="Complete now and analyse").click()
    page.get_by_role("button", name="Analyse now").click()
    expect(page.get_by_role("status").filter(has_text="Study closed for new images")).to_be_visible()
    assert actions_on_record(site)[0] == "series:forced"


def test_news_leave_what_is_typed_focused_and_unchanged_alone(site: Site, open_page: Callable[..., Page]) -> None:
    study = site.analysed_study(name="Stays^Put", patient_id="N-STAY")
    page = open_page()
    page.goto(f"{site.url}/worklist")
    row = page.locator(f"tr[data-study='{study.study_instance_uid}']")
    handle = row.element_handle()
    link = row.locator(".row-link")
    link.focus()
    arrived = add_study(site.database, name="Arrives^Meanwhile", patient_id="N-NEW")
    expect(page.locator(f"tr[data-study='{arrived.study_instance_uid}']")).to_be_visible()
    assert handle.evaluate("(row) => row.isConnected")
    expect(link).to_be_focused()
    page.get_by_role("button", name="Save filter").click()
    page.get_by_label("Name", exact=True).fill("Half a na")
    second = add_study(site.database, name="Arrives^Second", patient_id="N-NEW-2")
    expect(page.locator(f"tr[data-study='{second.study_instance_uid}']")).to_be_attached()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Half a na")
    intercept(page, "**/worklist/filters", lambda route: route.abort())
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Half a na")  # to be tried again
    expect(page.get_by_role("dialog")).to_be_visible()


def test_long_texts_of_a_sender_leave_the_columns_in_place(site: Site, open_page: Callable[..., Page]) -> None:
    study = add_study(site.database, name=f"{'A' * 200}^{'B' * 100}", patient_id="P" * 64)
    page = open_page()
    page.set_viewport_size({"width": 1280, "height": 720})
    page.goto(f"{site.url}/worklist")
    row = page.locator(f"tr[data-study='{study.study_instance_uid}']")
    expect(row).to_be_visible()
    is_wider = page.locator("[data-list]").evaluate("(list) => list.scrollWidth > list.clientWidth")
    assert not is_wider
    assert row_heights(page) == {44}
    row.locator("td").nth(1).hover()
    title = row.locator("td").nth(1).get_attribute("title") or ""
    assert all(text in title for text in ("A" * 200, "P" * 64))
    page.goto(f"{site.url}/studies/{study.study_instance_uid}")
    expect(page.locator("[data-patient-name]")).to_be_visible()
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_a_search_that_is_being_typed_survives_news(site: Site, open_page: Callable[..., Page]) -> None:
    site.analysed_study(name="Typing^Search", patient_id="TYPE-1")
    page = open_page()
    page.goto(f"{site.url}/worklist")
    page.keyboard.press("/")
    for letter in "typing":
        page.keyboard.type(letter)
        add_study(site.database, name=f"Typing^{letter}", patient_id=f"TYPE-{letter}")
    expect(page.locator("#q")).to_have_value("typing")
    expect(page.locator("#q")).to_be_focused()
    page.wait_for_url("**/worklist?q=typing")
    expect(page.locator("tr[data-study]")).to_have_count(7)


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
def test_every_row_has_one_height_and_notes_open_on_pointer_and_focus(
    site: Site, open_page: Callable[..., Page], width: int, height: int
) -> None:
    patient_id = f"ROW-{width}"
    for state in StudyState:
        put_in_state(site.database, add_study(site.database, name="Row^State", patient_id=patient_id), state)
    held = add_study(site.database, name="Row^Notes", patient_id=patient_id)
    reasons = [Reason("few_slices", f"Reason {number} {'of a sender' * 12}") for number in range(3)]
    finish(site.database, held, reasons=reasons)
    page = open_page(viewport={"width": width, "height": height})
    page.goto(f"{site.url}/worklist?q={patient_id.lower()}")
    assert row_heights(page) == {44}
    row = page.locator(f"tr[data-study='{held.study_instance_uid}']")
    notes = row.locator(".notes")
    line_px = notes.evaluate("(notes) => notes.offsetHeight")
    assert line_px < 44
    expect(row).to_contain_text("Reason 2")  # in the document at all times, for a screen reader
    row.locator(".notes-cell").hover()
    expect(notes).to_have_class("notes open")
    assert notes.evaluate("(notes) => notes.offsetHeight") > 3 * line_px
    assert row_heights(page) == {44}
    page.keyboard.press("Escape")
    expect(notes).to_have_class("notes")
    page.mouse.move(5, 5)
    page.keyboard.press("j")
    expect(row.locator(".row-link")).to_be_focused()
    expect(notes).to_have_class("notes open")
    page.keyboard.press("j")
    expect(notes).to_have_class("notes")


def test_a_row_shows_the_prior_and_the_size_of_the_top_finding(site: Site, open_page: Callable[..., Page]) -> None:
    site.stored_study(name="Has^Prior", patient_id="PRIOR-1", date="20250114")
    latest = site.analysed_study(name="Has^Prior", patient_id="PRIOR-1")
    page = open_page()
    page.goto(f"{site.url}/worklist?q=PRIOR-1")
    cells = page.locator(f"tr[data-study='{latest.study_instance_uid}'] td")
    expect(cells.nth(4)).to_have_text("Yes")
    expect(cells.nth(6)).to_have_text(f"{NODULE.diameter_mm:.1f} mm")
    page.get_by_label("Blind read").check()
    expect(cells.nth(6)).to_have_text("–")
    expect(cells.nth(4)).to_have_text("Yes")


def test_headers_sort_by_pointer_and_keyboard_and_saved_filters_keep_the_order(
    site: Site, open_page: Callable[..., Page]
) -> None:
    for name, date in (("Zeta^Sort", "20260101"), ("Alpha^Sort", "20260301"), ("Mid^Sort", "20260201")):
        add_study(site.database, name=name, patient_id="SORT-1", study_date=date)
    page = open_page()
    page.goto(f"{site.url}/worklist?q=sort-1")
    links = page.locator("tr[data-study] .row-link")
    expect(links).to_have_text(["Mid, Sort", "Alpha, Sort", "Zeta, Sort"])
    header = page.locator("th").filter(has_text="Patient")
    header.get_by_role("link").click()
    expect(links).to_have_text(["Alpha, Sort", "Mid, Sort", "Zeta, Sort"])
    expect(header).to_have_attribute("aria-sort", "ascending")
    page.wait_for_url("**/worklist?sort=patient&q=sort-1")
    expect(header.get_by_role("link")).to_be_focused()
    page.keyboard.press("Enter")
    expect(links).to_have_text(["Zeta, Sort", "Mid, Sort", "Alpha, Sort"])
    expect(header).to_have_attribute("aria-sort", "descending")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(links).to_have_text(["Alpha, Sort", "Mid, Sort", "Zeta, Sort"])
    page.wait_for_url("**/worklist?sort=study_date_desc&q=sort-1")
    expect(page.get_by_label("Order")).to_have_value("study_date_desc")
    page.get_by_role("button", name="Save filter").click()
    page.get_by_label("Name", exact=True).fill("By date")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto(f"{site.url}/worklist")
    page.get_by_role("link", name="By date").click()
    expect(links).to_have_text(["Alpha, Sort", "Mid, Sort", "Zeta, Sort"])
    page.get_by_role("button", name="Remove the filter By date").click()


@pytest.mark.parametrize(("answer", "is_blind"), [("Blind read", True), ("Show model results", False), ("", False)])
def test_the_first_visit_asks_once_for_a_blind_read(
    site: Site, open_page: Callable[..., Page], answer: str, is_blind: bool
) -> None:
    study = site.analysed_study(name="First^Visit", patient_id="FIRST-1")
    page = open_page(is_first_visit=True)
    page.goto(f"{site.url}/worklist?q=first-1")
    dialog = page.get_by_role("dialog", name="Blind read?")
    expect(dialog).to_be_visible()
    row = page.locator(f"tr[data-study='{study.study_instance_uid}']")
    expect(row).to_be_hidden()
    if answer:
        dialog.get_by_role("button", name=answer).click()
    else:
        page.keyboard.press("Escape")
    expect(row).to_be_visible()
    expect(row).to_contain_text("Hidden" if is_blind else "65 to 94 %")
    expect(page.get_by_label("Blind read")).to_be_checked(checked=is_blind)
    page.reload()
    expect(row).to_be_visible()
    expect(dialog).to_have_count(0)
