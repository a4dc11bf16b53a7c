"""Pages in the reader's language; data stay as they were recorded."""

from __future__ import annotations

import pytest

from db.domain.reasons import Reason
from tests.support.webapp_doubles import add_study, finding_at, finish
from tests.unit.webapp.conftest import Web
from webapp.http.i18n import COOKIE


@pytest.mark.parametrize(
    ("accepted", "language", "said"),
    [
        ("", "en", "Any state"),
        ("de-AT,de;q=0.9,en;q=0.5", "de", "Jeder Stand"),
        ("es", "es", "Cualquier estado"),
        ("fr,de;q=0.4", "de", "Jeder Stand"),
        ("fr", "en", "Any state"),
    ],
)
def test_a_page_speaks_the_language_that_the_browser_prefers(web: Web, accepted: str, language: str, said: str) -> None:
    response = web.client().get("/worklist", headers={"Accept-Language": accepted} if accepted else {})
    assert f'<html lang="{language}"' in response.text
    assert said in response.text
    assert {"Accept-Language", "Cookie"} <= set(response.vary)


def test_what_the_reader_chose_comes_first_and_an_unknown_choice_counts_for_nothing(web: Web) -> None:
    client = web.client()
    client.set_cookie(COOKIE, "es")
    assert '<html lang="es"' in client.get("/detector", headers={"Accept-Language": "de"}).text
    client.set_cookie(COOKIE, "../../x")
    assert '<html lang="de"' in client.get("/detector", headers={"Accept-Language": "de"}).text


def test_a_page_that_is_not_translated_says_that_it_is_english(web: Web) -> None:
    german = {"Accept-Language": "de"}
    assert '<main id="main" tabindex="-1" lang="en">' in web.client().get("/model", headers=german).text
    assert '<main id="main" tabindex="-1">' in web.client().get("/worklist", headers=german).text


def test_a_recorded_reason_is_translated_and_stored_in_english(web: Web) -> None:
    study = add_study(web.database)
    finish(web.database, study, reasons=[Reason("localizer", "The series is a localizer (scout view).")])
    german = {"Accept-Language": "de"}
    assert "Die Serie ist ein Localizer" in web.client().get("/worklist", headers=german).text
    described = web.client().get("/api/v1/worklist", headers=german).get_json()["items"][0]["reasons"]
    assert described == [{"code": "localizer", "text": "The series is a localizer (scout view)."}]


def test_an_untranslated_reason_with_a_percent_sign_stays_as_it_is(web: Web) -> None:
    study = add_study(web.database)
    finish(web.database, study, reasons=[Reason("x", "100 % of 3 <slices> %s %(a)s are missing.")])
    page = web.client().get("/worklist", headers={"Accept-Language": "de"}).text
    assert "100 % of 3 &lt;slices&gt; %s %(a)s are missing." in page


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (
            "About 12 slices are missing in 3 gaps of the stack.",
            "Etwa 12 Schichten fehlen an 3 Lücken des Stapels.",
        ),
        (
            "The slices are 6.0 mm apart; the models need 5 mm or less.",
            "Die Schichten liegen 6,0 mm auseinander; die Modelle brauchen 5 mm oder weniger.",
        ),
        (
            "Failed after 3 attempts. The analysis takes longer than is allowed.",
            "Nach 3 Versuchen fehlgeschlagen. Die Analyse dauert länger als erlaubt.",
        ),
        (
            "Failed after 3 attempts. Somebody's own words.",
            "Nach 3 Versuchen fehlgeschlagen. Somebody&#39;s own words.",
        ),
    ],
)
def test_a_reason_with_numbers_is_said_in_the_readers_language(web: Web, recorded: str, said: str) -> None:
    study = add_study(web.database)
    finish(web.database, study, reasons=[Reason("x", recorded)])
    assert said in web.client().get("/worklist", headers={"Accept-Language": "de"}).text
    described = (
        web.client().get("/api/v1/worklist", headers={"Accept-Language": "de"}).get_json()["items"][0]["reasons"]
    )
    assert described == [{"code": "x", "text": recorded}]


@pytest.mark.parametrize(
    ("language", "percent", "day"),
    [
        ("en", "55 to 88 % (25 of 34 similar)", "2026-01-14"),
        ("de", "55 bis 88 % (25 von 34 ähnlichen)", "14.01.2026"),
        ("es", "55 a 88 % (25 de 34 similares)", "14 ene 2026"),
    ],
)
def test_numbers_and_dates_are_written_as_the_language_does(web: Web, language: str, percent: str, day: str) -> None:
    study = add_study(web.database)
    finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20, malignancy=0.73)])
    asks = {"Accept-Language": language}
    page = web.client().get("/worklist", headers=asks).text
    bounds, cases = percent.split(" (")
    assert f">{bounds}<" in page
    assert f">({cases}<" in page
    assert day in page
    item = web.client().get("/api/v1/worklist", headers=asks).get_json()["items"][0]
    assert (item["malignancy_probability"], item["study_date"]) == (0.73, "20260114")


def test_errors_are_translated_for_people_and_english_for_programs(web: Web) -> None:
    german = {"Accept-Language": "de"}
    page = web.client().get("/none", headers=german | {"Accept": "text/html"}).text
    assert "Seite nicht gefunden." in page
    assert web.client().get("/none", headers=german).get_json()["error"]["message"] == "Page not found."
