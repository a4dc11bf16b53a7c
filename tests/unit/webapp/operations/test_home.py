"""The educational page: easy to read, sources for what it claims, pictures that say what is true."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.unit.webapp.conftest import Web

GRADE_LIMIT = 7.0
"""Flesch-Kincaid grade 7 is a reading age of about 12 (Kincaid et al. 1975)."""
TEXTS = frozenset({"p", "li", "dd", "blockquote", "figcaption"})


class Sections(HTMLParser):
    """Collects the running text of each section of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self._section, self._is_text = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self._section = dict(attrs).get("id") or "hero"
        if tag in TEXTS and self._section:
            self._is_text = True
            self.texts.setdefault(self._section, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in TEXTS:
            self._is_text = False
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._is_text and self._section:
            self.texts[self._section][-1] += data


def syllables(word: str) -> int:
    """Count groups of vowels, a silent ending aside."""
    plain = re.sub(r"(?:[^laeiouy]es|[^dt]ed|[^laeiouy]e)$", "", word.lower()) if len(word) > 3 else word.lower()
    return max(1, len(re.findall(r"[aeiouy]+", plain)))


def grade(texts: list[str]) -> float:
    """Flesch-Kincaid grade level; what has fewer than three words is no sentence."""
    sentences = [
        words
        for text in texts
        for part in re.split(r"[.!?:](?:\s|$)", text)
        if len(words := re.findall(r"[A-Za-z][A-Za-z'-]*", part)) > 2
    ]
    words = [word for sentence in sentences for word in sentence]
    return 0.39 * len(words) / len(sentences) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


@pytest.fixture
def page(web: Web) -> str:
    return web.client().get("/").text


def test_the_formula_distinguishes_easy_from_hard() -> None:
    assert grade(["The cat sat on the mat. It was a fat cat."]) < 2
    assert (
        grade(["Epidemiological investigation demonstrates considerable heterogeneity of malignancy estimates."]) > 20
    )


def test_every_section_reads_easily_at_twelve(page: str) -> None:
    sections = Sections()
    sections.feed(page)
    del sections.texts["sources"]
    assert {"hero", "what", "signs", "risk", "prevention", "screening", "number", "limits"} <= set(sections.texts)
    grades = {name: round(grade(texts), 1) for name, texts in sections.texts.items()}
    assert max(grades.values()) <= GRADE_LIMIT, grades


def test_every_source_is_cited_and_every_citation_has_a_source(page: str) -> None:
    cited = set(re.findall(r'href="#source-(\d+)"', page))
    assert cited == set(re.findall(r'id="source-(\d+)"', page))
    assert len(cited) >= 6


def test_links_within_the_page_lead_somewhere(page: str) -> None:
    assert set(re.findall(r'href="#([\w-]+)"', page)) <= set(re.findall(r'id="([\w-]+)"', page))


@pytest.mark.parametrize(
    ("label", "filled", "shaded"),
    [
        ("100 dots, 12 of them filled", 12, 0),
        ("100 dots, 85 of them filled", 85, 0),
        ("100 dots: 4 filled, 35 shaded", 4, 35),
        ("1,000 dots, 17 of them filled", 17, 0),
        ("1,000 dots, 13 of them filled", 13, 0),
    ],
)
def test_pictures_hold_as_many_dots_as_they_say(page: str, label: str, filled: int, shaded: int) -> None:
    drawing = page.split(f'aria-label="{label}"')[1].split("</svg>", maxsplit=1)[0]
    assert (drawing.count('class="on"'), drawing.count('class="maybe"')) == (filled, shaded)


def test_shares_of_the_trial_are_rounded_from_its_counts(page: str) -> None:
    assert "443 of 26,732" in page
    assert "356 of 26,722" in page
    assert [round(1000 * died / of) for died, of in ((443, 26_732), (356, 26_722))] == [17, 13]


def test_pictures_have_words_for_those_who_do_not_see_them(page: str) -> None:
    for picture in re.findall(r"<img [^>]+>", page):
        assert re.search(r'alt="[^"]{20,}"', picture), picture
    for drawing in re.findall(r"<svg [^>]+>", page):
        assert 'role="img" aria-label="' in drawing or 'aria-hidden="true"' in drawing, drawing
