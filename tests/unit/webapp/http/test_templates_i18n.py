"""No page that is said in other languages holds a text that no translator was given."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO

import flask_babel
import pytest

from tests.support.webapp_doubles import add_study, finding_at, finish, noise_png
from tests.unit.webapp.conftest import Web
from webapp.http.i18n import COOKIE
from webapp.options import Node

OPEN, CLOSE = "⟦", "⟧"
WORD = re.compile(r"[A-Za-zÄÖÜäöüß]{3,}")
DATA = frozenset({"script", "style", "code", "bdi", "time", "cite", "kbd", "template"})
SPOKEN = ("alt", "aria-label", "placeholder", "title")
PROPER = frozenset(("lungnode", "PACS", "MIP", "lung"))


class Pseudo:
    """Translations that mark what they were given."""

    def ugettext(self, text: str) -> str:
        return f"{OPEN}{text}{CLOSE}"

    gettext = ugettext

    def ungettext(self, one: str, many: str, n: int) -> str:
        return self.ugettext(one if n == 1 else many)


class Unmarked(HTMLParser):
    """Collects what a page says outside the marks; what an element names as data is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.depth = 0
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        for name in SPOKEN:
            self._collect(named.get(name) or "")
        if tag not in ("meta", "link", "img", "input", "br", "hr", "source"):
            is_data = tag in DATA or named.get("translate") == "no" or (tag != "html" and "lang" in named)
            self.inside.append("data" if is_data else tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        if "data" not in self.inside:
            self._collect(data)

    def _collect(self, text: str) -> None:
        outside = ""
        for letter in text:
            self.depth += (letter == OPEN) - (letter == CLOSE)
            outside += letter if self.depth == 0 else ""
        if set(WORD.findall(outside)) - PROPER:
            self.texts.append(outside.strip())


def said_outside(page: str) -> list[str]:
    reader = Unmarked()
    reader.feed(page)
    assert reader.depth == 0
    return reader.texts


@pytest.fixture
def pseudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flask_babel.Domain, "get_translations", lambda _self: Pseudo())


def test_the_walk_detects_unmarked_texts(web: Web, pseudo: None) -> None:
    page = '<p>⟦Said⟧ 12</p><p title="Forgotten title">⟦<b>Said</b> too⟧</p><code>data</code><p>Forgotten</p>'
    assert said_outside(page) == ["Forgotten title", "Forgotten"]
    client = web.client()
    client.set_cookie(COOKIE, "de")
    assert len(said_outside(client.get("/model").text)) > 8  # English alone, as yet


def test_every_text_of_a_page_is_for_translators(make_web: Callable[..., Web], pseudo: None) -> None:
    web = make_web(destinations=(Node("ARCHIVE", "10.0.0.1:104", ""),), peers=(Node("CT1", "10.0.0.2:104", ""),))
    client = web.client()
    client.set_cookie(COOKIE, "de")
    study = add_study(web.database)
    finish(web.database, study, [finding_at(study.sop_instance_uids[0], 10, 20, malignancy=0.73)])
    add_study(web.database, patient_id="waits")
    asked = {"image": (BytesIO(noise_png()), "slice.png"), "age": "60", "sex": "female", "smoking_pack_years": "20"}
    result = client.post("/predict", data=asked, headers={"Accept": "text/html"}).text
    pages = {"result": result}
    for address in (
        "/",
        "/detector",
        "/worklist",
        f"/studies/{study.study_instance_uid}",
        "/admin",
        "/audit",
        "/monitoring",
        "/none",
    ):
        pages[address] = client.get(address, headers={"Accept": "text/html"}).text
    forgotten = {name: said_outside(page) for name, page in pages.items()}
    assert {name: texts for name, texts in forgotten.items() if texts} == {}
