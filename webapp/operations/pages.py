"""Educational page, upload form and model card."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template

from webapp.api.status import model_status_fields
from webapp.endpoints import ANY_QUERY, EVERYONE, HTML, PNG, SIGNED_IN, UPLOAD, endpoint
from webapp.http.errors import NotFoundError
from webapp.operations.model_cards import model_cards
from webapp.services.registry import current_services

blueprint = Blueprint("pages", __name__)


@endpoint(blueprint, "GET", "/", may=EVERYONE, answers={200: HTML}, query=ANY_QUERY)
def home() -> str:
    """Educational page."""
    return render_template("home.html")


@endpoint(blueprint, "GET", "/detector", may=UPLOAD, answers={200: HTML})
def detector() -> str:
    """Upload form."""
    options = current_services().options
    limits = {"max_image_mb": options.max_image_bytes // 2**20, "max_upload_mb": options.max_upload_bytes // 2**20}
    return render_template("detector.html", **limits)


@endpoint(blueprint, "GET", "/model", may=SIGNED_IN, answers={200: HTML})
def model_card() -> str:
    """Model card."""
    cards, predictor = model_cards(model_status_fields()), current_services().predictor
    plots = {name: predictor.plots(name) for name in (str(card.status["name"]) for card in cards)}
    return render_template("model.html", cards=cards, plots=plots)


@endpoint(
    blueprint,
    "GET",
    "/model/<model_name>/<any(reliability_before, reliability_after, roc, histogram):plot>.png",
    may=SIGNED_IN,
    answers={200: PNG},
)
def model_plot(model_name: str, plot: str) -> Response:
    """A plot of a model bundle."""
    content = current_services().predictor.plots(model_name).get(plot)
    if content is None:
        raise NotFoundError("Plot not found.")
    return Response(content, mimetype="image/png")


@endpoint(blueprint, "GET", "/favicon.ico", may=EVERYONE, query=ANY_QUERY)
def favicon() -> Response:
    """Return the icon that browsers request by default."""
    return current_app.send_static_file("icon.svg")
