"""Languages of the pages: English, and those with a catalogue (``make words``).

Data, API responses and logs stay English; a recorded reason is translated for display. One with numbers was formatted
from a template (``"fewer than {least} slices"``), which is the catalogue's entry: the text is matched to its template,
so that records need not store its numbers separately.
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
PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
NUMBER: Final = re.compile(r"-?\d+\.\d+")
CATALOGUES: Final = Path(__file__).resolve().parents[1] / "translations"


def available() -> dict[str, str]:
    """Return the available languages by code."""
    return {code: name for code, name in NAMES.items() if code == SOURCE or _catalogue(code).is_file()}


def language() -> str:
    """Return the language of this request: the chosen one, else the browser's preference, else English."""
    languages = available()
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in languages else request.accept_languages.best_match(list(languages)) or SOURCE


def translated(text: str) -> str:
    """Translate a recorded text, such as a reason; texts missing from the catalogue stay English."""
    if not text or language() == SOURCE:
        return text
    translation = gettext(text)
    if translation != text:
        return translation
    for pattern, template in _templates(language()):
        if match := pattern.fullmatch(text):
            return gettext(template).format(**{name: _value(value) for name, value in match.groupdict().items()})
    return text


def _value(text: str) -> str:
    if NUMBER.fullmatch(text):
        return number(text)
    return ", ".join(translated(item) for item in text.split(", "))


def number(text: str) -> str:
    """Return a number with the decimal point of the request's language."""
    return text.replace(".", get_decimal_symbol(language()))


def day(value: date) -> str:
    """Format a date: in ISO form for English, else for the request's language."""
    return value.isoformat() if language() == SOURCE else format_date(value, "medium", locale=language())


@cache
def _templates(code: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return a language's template texts, each with the pattern of its formatted form."""
    with (CATALOGUES / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        messages = [message for message in read_po(file) if any(path.endswith(".py") for path, _ in message.locations)]
    texts = [str(message.id) for message in messages]
    return tuple((template_pattern(text), text) for text in texts if PLACEHOLDER.search(text))


def template_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern that matches a formatted template."""
    parts = PLACEHOLDER.split(text)
    return re.compile("".join(f"(?P<{part}>.+)" if at % 2 else re.escape(part) for at, part in enumerate(parts)))


def install(app: Flask) -> None:
    """Install translation for templates and views."""
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
