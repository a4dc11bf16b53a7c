"""The OpenAPI 3.1 document, made from the shapes that the code is type-checked against."""

from __future__ import annotations

from typing import Any


def document(version: str) -> dict[str, Any]:
    """Describe everything that answers JSON."""
    return {"openapi": "3.1.0", "info": {"title": "lungnode", "version": version}, "paths": {}}
