"""JSON bodies are objects, and texts are cleaned."""

from __future__ import annotations

import pytest

from webapp.http import forms
from webapp.http.errors import BadRequestError


@pytest.mark.parametrize("body", [[], "text", 3, None, True])
def test_a_body_is_an_object(body: object) -> None:
    with pytest.raises(BadRequestError):
        forms.json_object(body)


def test_text_that_turns_direction_around_is_cleaned() -> None:
    assert forms.clean_text("a\u202eb\x07 ") == "ab"
