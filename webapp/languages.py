"""Languages of the pages: English, and those that a catalogue was made for (``make words``).

Data and logs stay as they are: reasons are recorded in English and said in the reader's language where they are shown,
and numbers and dates keep the decimal point and the ISO form that the result objects have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask import Flask, Response, request
from flask_babel import Babel, gettext

SOURCE: Final = "en"
NAMES: Final = {"en": "English", "de": "Deutsch", "es": "Español"}
COOKIE: Final = "lungnode_language"
CATALOGUES: Final = Path(__file__).parent / "translations"


def available() -> dict[str, str]:
    """Name the languages that can be chosen, by their codes."""
    return {code: name for code, name in NAMES.items() if code == SOURCE or _catalogue(code).is_file()}


def language() -> str:
    """Tell the language of this request: what the reader chose, else what the browser prefers, else English."""
    known = available()
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in known else request.accept_languages.best_match(list(known)) or SOURCE


def translated(text: str) -> str:
    """Say a recorded text, such as a reason, in the reader's language; one that no catalogue holds stays English."""
    return gettext(text) if text else text


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
