"""WADO-RS ``/rendered`` (PS3.18 10.4.1.1.3): a frame as PNG or JPEG, with window and viewport."""

from __future__ import annotations

import math

from flask import Blueprint, Response, request

from webapp.dicomweb.negotiation import accepted
from webapp.dicomweb.retrieve import INSTANCE, instances_of
from webapp.endpoints import ANY_QUERY, READ_CLINICAL, endpoint
from webapp.http.errors import BadRequestError, NotAcceptableError, NotFoundError
from webapp.ports import RenderOptions
from webapp.services.registry import compute_slot, current_services
from webapp.services.view_audit import ViewAudit

blueprint = Blueprint("rendered", __name__, url_prefix="/dicom-web")

MEDIA_TYPES = ("image/jpeg", "image/png")
FUNCTIONS = ("linear", "linear-exact", "sigmoid")
MAX_SIDE = 4096
MAX_VALUE = 1_000_000.0
DEFAULT_QUALITY = 90


@endpoint(
    blueprint,
    "GET",
    INSTANCE + "/rendered",
    INSTANCE + "/frames/<int:frame_number>/rendered",
    may=READ_CLINICAL,
    query=ANY_QUERY,
    audit=ViewAudit.STUDY,
)
def picture(study_uid: str, series_uid: str, sop_uid: str, frame_number: int = 1) -> Response:
    """Render a frame, the first by default."""
    options = _render_options()
    instance = instances_of(study_uid, series_uid, sop_uid)[0]
    with compute_slot():
        content = current_services().files.rendered(instance.path, frame_number, options)
    if content is None:
        raise NotFoundError("Frame not found.")
    headers = {"Content-Length": str(content.size_bytes)}
    return Response(content.pieces, content_type=options.media_type, headers=headers)


def _render_options() -> RenderOptions:
    """Parse the render options of the request.

    Raises
    ------
    BadRequestError, NotAcceptableError
    """
    media_type = next((kind for offer in accepted() for kind in MEDIA_TYPES if offer.matches(kind)), None)
    if media_type is None:
        raise NotAcceptableError(" or ".join(MEDIA_TYPES))
    return RenderOptions(media_type, _quality(), _window(), *_viewport())


def _quality() -> int:
    text = request.args.get("quality", str(DEFAULT_QUALITY))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 100):
        raise BadRequestError("The quality must be an integer from 1 to 100.", code="bad_quality")
    return int(text)


def _window() -> tuple[float, float, str] | None:
    text = request.args.get("window")
    if text is None:
        return None
    parts = text.lower().split(",")
    try:
        center, width = float(parts[0]), float(parts[1])
    except (IndexError, ValueError):
        center = width = math.nan
    function = parts[2] if len(parts) == 3 else FUNCTIONS[0]
    is_known = len(parts) <= 3 and function in FUNCTIONS
    if not (is_known and abs(center) <= MAX_VALUE and 1 <= width <= MAX_VALUE):
        raise BadRequestError(
            f"The window must be center,width,function with a width of at least 1 and one of {', '.join(FUNCTIONS)}.",
            code="bad_window",
        )
    return center, width, function


def _viewport() -> tuple[tuple[int, int] | None, tuple[int, int, int, int] | None]:
    """Parse ``vw,vh`` or ``vw,vh,sx,sy,sw,sh`` (PS3.18 8.3.5.1.3)."""
    text = request.args.get("viewport")
    if text is None:
        return None, None
    numbers = [int(part) for part in text.split(",") if part.isascii() and part.isdigit() and len(part) < 6]
    if len(numbers) != len(text.split(",")) or len(numbers) not in (2, 6) or not _is_renderable(numbers):
        raise BadRequestError(
            f"The viewport must be vw,vh or vw,vh,sx,sy,sw,sh, at most {MAX_SIDE}.", code="bad_viewport"
        )
    size = (numbers[0], numbers[1])
    return size, (numbers[2], numbers[3], numbers[4], numbers[5]) if len(numbers) == 6 else None


def _is_renderable(numbers: list[int]) -> bool:
    sizes = [*numbers[:2], *numbers[4:]]
    return all(number >= 1 for number in sizes) and max(numbers[:2]) <= MAX_SIDE
