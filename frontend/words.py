"""Texts of the pages for translators: ``make words`` after texts or catalogues changed.

Extracts the English texts to ``messages.pot``, brings each language's ``messages.po`` up to date, compiles it, and
writes for the modules in the browser one JSON file a language with the texts that they say, and which of these are
templates of recorded reasons.
"""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
TRANSLATIONS = ROOT / "webapp" / "translations"
WORDS = ROOT / "webapp" / "static" / "words"
TEMPLATE = TRANSLATIONS / "messages.pot"
KEYWORDS = DEFAULT_KEYWORDS | {
    "_l": None,
    "english": None,
    **dict.fromkeys(("Reason", "Abstention"), (2,)),  # code, then the text for people
    **dict.fromkeys(("BadRequestError", "ForbiddenError", "NotFoundError", "ConflictError", "UnavailableError"), (1,)),
    **dict.fromkeys(("UnfitInputError", "ZipRefusedError", "_answer"), (3,)),  # status, code, text
}
BROWSER = (".js", ".ts")
NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)  # a catalogue changes only when a text does
OF_ANSWERS = (
    "inference/",
    "db/",
    "webapp/upload/uploads.py",
    "webapp/upload/predictions.py",
    "webapp/http/errors.py",
    "webapp/http/error_handlers.py",
    "dicom_node/intake/zip_",
)
"""Modules with reasons for no answer: sent in English, translated in the browser."""


def extracted() -> Catalog:
    """Collect the English texts from the sources."""
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    catalog = Catalog(project="lungnode", charset="utf-8", creation_date=NO_DATE, fuzzy=False)
    for path, line, message, comments, context in extract_from_dir(
        ROOT, methods, options, keywords=KEYWORDS, directory_filter=_is_of_sources
    ):
        catalog.add(message, None, [(path, line)], auto_comments=comments, context=context)
    return catalog


def _is_of_sources(folder: str) -> bool:
    """Return False for folders of installed packages and built files, which hold most of all files."""
    name = Path(folder).name
    return not name.startswith(".") and name not in ("built", "node_modules", "__pycache__", "build", "dist")


def template(catalog: Catalog) -> bytes:
    """Write the texts without lines and dates, so that it changes only when a text does."""
    return _po(catalog, omit_header=True)


def languages() -> dict[str, Path]:
    """Find the catalogues by their languages."""
    return {path.parent.parent.name: path for path in sorted(TRANSLATIONS.glob("*/LC_MESSAGES/messages.po"))}


def catalogue(path: Path, language: str) -> Catalog:
    """Read a language's texts."""
    with path.open("rb") as file:
        return read_po(file, locale=language)


def compiled(catalog: Catalog) -> bytes:
    """Compile a language's texts for the server."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def browser_words(catalog: Catalog, english: Catalog) -> str:
    """Write the texts that modules in the browser say, by their English."""
    shown = {
        message.id
        for message in english
        if message.id and any(path.endswith(BROWSER) or path.startswith(OF_ANSWERS) for path, _ in message.locations)
    }
    words = {message.id: message.string for message in catalog if message.id in shown and message.string}
    recorded = [
        message.id
        for message in english
        if message.id in words and "{" in message.id and any(path.endswith(".py") for path, _ in message.locations)
    ]
    payload = {"words": words, "recorded": sorted(recorded)}
    return json.dumps(payload, ensure_ascii=False, indent=0, sort_keys=True) + "\n"


def main() -> None:
    """Bring everything up to date."""
    english = extracted()
    TEMPLATE.write_bytes(template(english))
    WORDS.mkdir(exist_ok=True)
    for language, path in languages().items():
        catalog = catalogue(path, language)
        catalog.update(english, no_fuzzy_matching=True)
        catalog.obsolete.clear()
        path.write_bytes(_po(catalog))
        path.with_suffix(".mo").write_bytes(compiled(catalog))
        (WORDS / f"{language}.json").write_text(browser_words(catalog, english), encoding="utf-8")
        missing = [message.id for message in catalog if message.id and not message.string]
        print(f"{language}: {len(catalog) - len(missing)} of {len(catalog)} texts")


def _po(catalog: Catalog, *, omit_header: bool = False) -> bytes:
    file = io.BytesIO()
    write_po(file, catalog, omit_header=omit_header, include_lineno=False, sort_output=True, width=120)
    return file.getvalue()


if __name__ == "__main__":
    main()
