"""Page of the DICOM conformance statement."""

from __future__ import annotations

from flask import Blueprint, render_template

from webapp.services.registry import current_services

blueprint = Blueprint("conformance", __name__)


@blueprint.get("/conformance")
def page() -> str:
    """Show the conformance statement for the current configuration."""
    return render_template("conformance.html", sections=current_services().options.conformance)
