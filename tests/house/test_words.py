"""The pages' texts: what translators are given is what the pages say, and every language says all of it."""

from __future__ import annotations

import gettext
import importlib.util
import io
import re
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog

ROOT = Path(__file__).resolve().parents[2]
PLACES = re.compile(r"%\(\w+\)s|\{\w+\}")
LANGUAGES = ("de", "es")


@pytest.fixture(scope="module")
def words() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", ROOT / "frontend" / "words.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def english(words: ModuleType) -> Catalog:
    """All texts of the sources; collecting them takes seconds."""
    catalog: Catalog = words.extracted()
    return catalog


def spoken(compiled: bytes) -> dict[object, object]:
    """Texts of a compiled catalogue; its header names the release of Babel that wrote it."""
    catalog: dict[object, object] = vars(gettext.GNUTranslations(io.BytesIO(compiled)))["_catalog"]
    return {text: said for text, said in catalog.items() if text}


def places(catalog: Catalog) -> dict[object, set[str]]:
    """Texts of a catalogue and the files that say each; how they are laid out is a matter of Babel's release."""
    return {message.id: {path for path, _ in message.locations} for message in catalog if message.id}


def test_the_template_holds_what_the_pages_say(words: ModuleType, english: Catalog) -> None:
    assert places(words.catalogue(words.TEMPLATE, "en")) == places(english), "run `make words`"
    assert set(words.languages()) == set(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_says_everything_and_is_compiled(words: ModuleType, english: Catalog, language: str) -> None:
    path = words.languages()[language]
    catalog = words.catalogue(path, language)
    texts = {message.id: message.string for message in catalog if message.id}
    assert set(texts) == {message.id for message in english if message.id}, "run `make words`"
    assert [text for text, said in texts.items() if not said] == []
    for text, said in texts.items():
        plain = text[-1] if isinstance(text, tuple) else text
        for form in said if isinstance(said, tuple) else (said,):
            assert form, text
            assert sorted(PLACES.findall(plain)) == sorted(PLACES.findall(form)), text
    assert spoken(path.with_suffix(".mo").read_bytes()) == spoken(words.compiled(catalog)), "run `make words`"
    written = (words.WORDS / f"{language}.json").read_text(encoding="utf-8")
    assert written == words.browser_words(catalog, english), "run `make words`"
