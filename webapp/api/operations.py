"""Description of an API operation, for ``webapp.api.openapi``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.api.schema import Schema

PNG: Schema = {"image/png": {"schema": {"type": "string", "contentEncoding": "binary"}}}
HTML: Schema = {"text/html": {"schema": {"type": "string"}}}
TEXT: Schema = {"text/plain": {"schema": {"type": "string"}}}
EVENTS: Schema = {"text/event-stream": {"schema": {"type": "string"}}}
STUDY = "/api/v1/studies/{study_uid}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One API operation."""

    method: str
    path: str
    summary: str
    answers: dict[int, Any]
    """Shape (JSON) or content by HTTP status."""
    refusals: tuple[int, ...] = ()
    query: tuple[tuple[str, Schema, str], ...] = ()
    body: Any = None
    form: Schema | None = None
    public: bool = False
    alternative: Schema | None = None
    """Alternative content of the first response, selected by ``Accept``."""
