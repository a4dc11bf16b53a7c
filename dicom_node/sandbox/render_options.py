"""Options of rendering a frame; plain values on both sides of the decoding child."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """Options of rendering a frame.

    Attributes
    ----------
    media_type
        ``image/png`` or ``image/jpeg``.
    quality
        Of a JPEG, 1 to 100.
    window
        Center, width and function (``linear``, ``linear-exact``, ``sigmoid``); None takes the image's own.
    size
        Width and height that the picture has to fit into; None leaves it as it is.
    region
        Left, top, width and height of what is shown, in pixels; None shows everything.
    """

    media_type: str = "image/jpeg"
    quality: int = 90
    window: tuple[float, float, str] | None = None
    size: tuple[int, int] | None = None
    region: tuple[int, int, int, int] | None = None


def parse_render_options(payload: object) -> RenderOptions:
    """Parse options from the parent's JSON."""
    if not isinstance(payload, dict):
        raise TypeError("render options are expected")
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in payload.items()
    }
    return RenderOptions(**options)
