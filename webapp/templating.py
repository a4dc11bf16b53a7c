"""What templates may use besides the data that they are given."""

from __future__ import annotations

from datetime import datetime

from flask import Flask, g

from webapp import access, rounding
from webapp.identity import Principal, current_form_token
from webapp.services import services


def install(app: Flask) -> None:
    """Add filters and the values that every page needs."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.add_template_filter(rounding.percent_text, "percent")
    app.add_template_filter(dicom_date)
    app.context_processor(_page_values)


def dicom_date(text: str) -> str:
    """Write a DICOM date (``20260131``) as ``2026-01-31``; anything else stays as it was received."""
    if len(text) == 8 and text.isascii() and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text


def _page_values() -> dict[str, object]:
    options = services().options
    who: Principal | None = g.get("principal")
    return {
        "auth_required": options.auth_required,
        "version": options.version,
        "who": who,
        "form_token": current_form_token() if who else "",
        "may": lambda endpoint, method="GET": (
            not options.auth_required or access.may(who.role if who else None, endpoint, method)
        ),
        "now_year": datetime.now().astimezone().year,
    }
