"""The conformance statement of this node as a page."""

from __future__ import annotations

from flask import Blueprint, render_template

from webapp.services.registry import current_services

blueprint = Blueprint("conformance", __name__)


@blueprint.get("/conformance")
def page() -> str:
    """Show what this node speaks, as it is configured now."""
    return render_template("conformance.html", sections=current_services().options.conformance)
