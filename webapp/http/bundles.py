"""The bundled modules of the pages: sent compressed where the browser takes that, kept by it for ever.

``frontend/`` makes them (``make assets``): entries under their own names, everything else named by its content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask import Flask, Response, request, send_from_directory

BUILT: Final = "built/"
PARTS: Final = "built/parts/"
STATIC: Final = Path(__file__).resolve().parents[1] / "static"


def install(app: Flask) -> None:
    """Let the ``static`` endpoint send compressed files where they are there."""
    app.view_functions["static"] = static


def static(filename: str) -> Response:
    """Send a static file, compressed as it was when the bundle was made."""
    compressed = f"{filename}.gz"
    if filename.startswith(BUILT) and request.accept_encodings["gzip"] and (STATIC / compressed).is_file():
        response = send_from_directory(STATIC, compressed, mimetype=_type_of(filename))
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        return response
    return send_from_directory(STATIC, filename)


def _type_of(filename: str) -> str:
    return {".js": "text/javascript", ".wasm": "application/wasm"}.get(
        Path(filename).suffix, "application/octet-stream"
    )


def is_bundled() -> bool:
    """Whether this request is for a part of the bundle."""
    return request.endpoint == "static" and _filename().startswith(BUILT)


def is_named_by_content() -> bool:
    """Whether the address changes when the file does, so that browsers may keep it."""
    return request.endpoint == "static" and ("v" in request.args or _filename().startswith(PARTS))


def _filename() -> str:
    return str((request.view_args or {}).get("filename", ""))
