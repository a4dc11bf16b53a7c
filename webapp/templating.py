"""Template filters, tests and globals."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import cache
from hashlib import sha256
from pathlib import Path

from flask import Flask, g, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from db.domain.caveats import PARTIAL_COVERAGE
from db.domain.studies import StudyState
from webapp import endpoints
from webapp.accounts.identity import Principal, current_form_token
from webapp.accounts.names import shown_name
from webapp.api import models_studies
from webapp.api.models import Reason
from webapp.http import i18n, rounding
from webapp.services.registry import current_services

NAVIGATION = (
    ("worklist.page", "/worklist", _l("Worklist")),
    ("pages.detector", "/detector", _l("Detector")),
    ("pages.model_card", "/model", _l("Models")),
    ("monitoring.page", "/monitoring", _l("Monitoring")),
    ("trail.page", "/audit", _l("Audit")),
    ("admin.page", "/admin", _l("Admin")),
    ("pages.home", "/", _l("About lung nodules")),
)
STATE_WORDS = {
    StudyState.RECEIVING: _l("Receiving"),
    StudyState.QUEUED: _l("Queued"),
    StudyState.ANALYSING: _l("Analysing"),
    StudyState.ANALYSED: _l("Analysed"),
    StudyState.NOT_ANALYSED: _l("Not analysed"),
    StudyState.FAILED: _l("Failed"),
}
STATIC = Path(__file__).parent / "static"


def install(app: Flask) -> None:
    """Register filters, tests, globals and context processors."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.add_template_filter(percent)
    app.add_template_filter(dicom_date)
    app.add_template_filter(i18n.number)
    app.add_template_filter(day)
    app.add_template_filter(person_name)
    app.add_template_filter(duration)
    app.add_template_filter(sentence)
    app.add_template_filter(detail)
    app.add_template_filter(shown_name)
    app.jinja_env.tests["partial_coverage"] = is_partial_coverage
    app.jinja_env.globals.update(
        asset=asset,
        nav=NAVIGATION,
        state_words={state.value: word for state, word in STATE_WORDS.items()},
        age_at=age_at,
        displayed_malignancy=models_studies.displayed_malignancy,
        displayed_nodule=models_studies.displayed_nodule,
    )
    app.context_processor(_page_values)


def is_partial_coverage(caveats: Iterable[Reason]) -> bool:
    """Return whether any caveat states partial coverage of the lungs."""
    return any(caveat.code in PARTIAL_COVERAGE for caveat in caveats)


def asset(name: str) -> str:
    """Return the URL of a static file, versioned by its content."""
    return url_for("static", filename=name, v=_digest(name))


@cache
def _digest(name: str) -> str:
    try:
        return sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    except FileNotFoundError:  # bundle not built: the page works without it
        return "missing"


def _date(text: str) -> date | None:
    if len(text) != 8 or not text.isascii() or not text.isdigit():
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def dicom_date(text: str) -> str:
    """Format a DICOM date (``20260131``) as ``2026-01-31``; other texts stay unchanged."""
    parsed = _date(text)
    return parsed.isoformat() if parsed else text


def day(text: str) -> str:
    """Format a DICOM date for the page's language; other texts stay unchanged."""
    parsed = _date(text)
    return i18n.day(parsed) if parsed else text


def percent(share: float) -> str:
    """Format a probability in percent for the page's language."""
    return i18n.number(rounding.percent_text(share))


def age_at(birth_date: str, study_date: str) -> str:
    """Return the age in years at the study, or an empty string if a date is invalid."""
    born, examined = _date(birth_date), _date(study_date)
    if born is None or examined is None or examined < born:
        return ""
    years = examined.year - born.year - ((examined.month, examined.day) < (born.month, born.day))
    return gettext("{years} y").format(years=years)


def detail(value: object) -> str:
    """Format a detail of an audit event: lists with commas, digests abbreviated."""
    if isinstance(value, list | tuple):
        return ", ".join(detail(inner) for inner in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def sentence(text: str) -> str:
    """Format a reason as a sentence, with a capital and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def duration(seconds: float) -> str:
    """Format a duration in the largest fitting unit."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def person_name(text: str) -> str:
    """Format a DICOM person name (PS3.5 6.2.1) as ``Family, Given Middle``, alphabetic group first."""
    groups = [_name_group(group) for group in text.split("=")]
    return " · ".join(group for group in groups if group) or gettext("(no name)")


def _name_group(group: str) -> str:
    family, given, middle, prefix, suffix = (*(part.strip() for part in group.split("^")), "", "", "", "", "")[:5]
    names = " ".join(part for part in (prefix, given, middle) if part)
    return ", ".join(part for part in (family, names, suffix) if part)


def _page_values() -> dict[str, object]:
    options = current_services().options
    who: Principal | None = g.get("principal")

    def may(endpoint: str, method: str = "GET") -> bool:
        return not options.auth_required or endpoints.may(who.role if who else None, endpoint, method)

    return {
        "auth_required": options.auth_required,
        "session_idle_s": int(options.session_idle_s),
        "version": options.version,
        "who": who,
        "form_token": current_form_token() if who else "",
        "may": may,
    }
