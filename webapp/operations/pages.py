"""Educational page, upload form and model card."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template

from webapp.api.status import model_status_fields
from webapp.http.errors import NotFoundError
from webapp.operations.model_cards import model_cards
from webapp.services.registry import current_services

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def home() -> str:
    """Show the educational page."""
    return render_template("home.html")


@blueprint.get("/detector")
def detector() -> str:
    """Show the upload form."""
    options = current_services().options
    limits = {"max_image_mb": options.max_image_bytes // 2**20, "max_upload_mb": options.max_upload_bytes // 2**20}
    return render_template("detector.html", **limits)


@blueprint.get("/model")
def model_card() -> str:
    """Show the model cards: metrics, intended use and limits."""
    cards, predictor = model_cards(model_status_fields()), current_services().predictor
    plots = {name: predictor.plots(name) for name in (str(card.status["name"]) for card in cards)}
    return render_template("model.html", cards=cards, plots=plots)


@blueprint.get("/model/<model_name>/<plot>.png")
def model_plot(model_name: str, plot: str) -> Response:
    """Return a plot of a model's bundle."""
    content = current_services().predictor.plots(model_name).get(plot)
    if content is None:
        raise NotFoundError("Plot not found.")
    return Response(content, mimetype="image/png")


@blueprint.get("/favicon.ico", endpoint="favicon")
def favicon() -> Response:
    """Return the icon that browsers request by default."""
    return current_app.send_static_file("icon.svg")
