"""Bundled frontend modules, served precompressed and cached by content.

Built from ``frontend/`` (``make assets``): entries under their own names, everything else named by its content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask import Flask, Response, request, send_from_directory

BUILT: Final = "built/"
PARTS: Final = "built/parts/"
STATIC: Final = Path(__file__).resolve().parents[1] / "static"


def install(app: Flask) -> None:
    """Serve precompressed files from the ``static`` endpoint."""
    app.view_functions["static"] = static


def static(filename: str) -> Response:
    """Return a static file, precompressed if available and accepted."""
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
    """Return whether this request is for a file of the bundle."""
    return request.endpoint == "static" and _filename().startswith(BUILT)


def is_named_by_content() -> bool:
    """Return whether the URL changes with the file's content, so that it may be cached."""
    return request.endpoint == "static" and ("v" in request.args or _filename().startswith(PARTS))


def _filename() -> str:
    return str((request.view_args or {}).get("filename", ""))
