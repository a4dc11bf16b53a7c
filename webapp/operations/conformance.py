"""Page of the DICOM conformance statement."""

from __future__ import annotations

from flask import Blueprint, render_template

from webapp.endpoints import HTML, SIGNED_IN, endpoint
from webapp.services.registry import current_services

blueprint = Blueprint("conformance", __name__)


@endpoint(blueprint, "GET", "/conformance", may=SIGNED_IN, answers={200: HTML})
def page() -> str:
    """DICOM conformance statement."""
    return render_template("conformance.html", sections=current_services().options.conformance)
