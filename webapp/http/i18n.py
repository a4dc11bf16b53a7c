"""Languages of the pages: English, and those that a catalogue was made for (``make words``).

Data, answers to programs and logs stay English: a recorded reason is said in the reader's language where it is shown.
One with numbers was made of a template (``"fewer than {least} slices"``), which is what a catalogue holds: it is
recognised by that template, so that its numbers need no place of their own in the records.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final

from babel.dates import format_date
from babel.messages.pofile import read_po
from babel.numbers import get_decimal_symbol
from flask import Flask, Response, request
from flask_babel import Babel, gettext

SOURCE: Final = "en"
NAMES: Final = {"en": "English", "de": "Deutsch", "es": "Español"}
COOKIE: Final = "lungnode_language"
PLACE: Final = re.compile(r"\{(\w+)\}")
NUMBER: Final = re.compile(r"-?\d+\.\d+")
CATALOGUES: Final = Path(__file__).resolve().parents[1] / "translations"


def available() -> dict[str, str]:
    """Name the languages that can be chosen, by their codes."""
    return {code: name for code, name in NAMES.items() if code == SOURCE or _catalogue(code).is_file()}


def language() -> str:
    """Tell the language of this request: what the reader chose, else what the browser prefers, else English."""
    known = available()
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in known else request.accept_languages.best_match(list(known)) or SOURCE


def english(text: str) -> str:
    """Mark a text that is kept and sent in English, and said in the reader's language where it is shown."""
    return text


def translated(text: str) -> str:
    """Say a recorded text, such as a reason, in the reader's language; one that no catalogue holds stays English."""
    if not text or language() == SOURCE:
        return text
    said = gettext(text)
    if said != text:
        return said
    for form, template in _templates(language()):
        if found := form.fullmatch(text):
            return gettext(template).format(**{name: _value(value) for name, value in found.groupdict().items()})
    return text


def _value(text: str) -> str:
    if NUMBER.fullmatch(text):
        return number(text)
    return ", ".join(translated(item) for item in text.split(", "))


def number(text: str) -> str:
    """Write the decimal point of a number as the reader's language has it."""
    return text.replace(".", get_decimal_symbol(language()))


def day(found: date) -> str:
    """Write a date: in English in the ISO form, which no reader takes for another day."""
    return found.isoformat() if language() == SOURCE else format_date(found, "medium", locale=language())


@cache
def _templates(code: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """List a language's texts that numbers are filled into, each with the form that it has when they are."""
    with (CATALOGUES / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        messages = [message for message in read_po(file) if any(path.endswith(".py") for path, _ in message.locations)]
    texts = [str(message.id) for message in messages]
    return tuple((template_form(text), text) for text in texts if PLACE.search(text))


def template_form(text: str) -> re.Pattern[str]:
    """Make the form that a template has once its places are filled."""
    parts = PLACE.split(text)
    return re.compile("".join(f"(?P<{part}>.+)" if at % 2 else re.escape(part) for at, part in enumerate(parts)))


def install(app: Flask) -> None:
    """Let templates and views speak the reader's language."""
    Babel(
        app,
        default_locale=SOURCE,
        default_translation_directories=str(CATALOGUES),
        locale_selector=language,
    )
    app.add_template_filter(translated)
    app.context_processor(lambda: {"language": language(), "languages": available()})
    app.after_request(_vary)


def _catalogue(code: str) -> Path:
    return CATALOGUES / code / "LC_MESSAGES" / "messages.mo"


def _vary(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.vary.update(("Accept-Language", "Cookie"))
    return response
