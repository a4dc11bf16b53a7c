"""Codes of HTTP errors, which programs compare, are the same on every version of Python."""

from __future__ import annotations

import pytest

from webapp.http.error_handlers import code_of


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_request"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (413, "request_entity_too_large"),
        (414, "request-uri_too_long"),
        (415, "unsupported_media_type"),
        (416, "requested_range_not_satisfiable"),
        (422, "unprocessable_entity"),
        (503, "service_unavailable"),
    ],
)
def test_a_code_outlasts_the_names_of_python(status: int, code: str) -> None:
    assert code_of(status) == code
