"""Validation of query parameter names.

Unknown parameters are refused: ignored, they would widen the result. DICOMweb has its own rules (``webapp.dicomweb``).
Public pages, probes and metrics ignore parameters, and an identity provider may add parameters to its redirect.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

from flask import request

from webapp.endpoints import Endpoint
from webapp.http.errors import BadRequestError
from webapp.http.messages import english

MAX_SHOWN: Final = 64


def check_request(endpoint: Endpoint) -> None:
    """Refuse a request with an unknown or repeated parameter.

    Raises
    ------
    BadRequestError
        400, naming the parameter, never its value.
    """
    if endpoint.query is None:
        return
    check_names(request.args, endpoint.query.model_fields)
    for name, values in request.args.lists():
        if len(values) > 1:
            raise BadRequestError(
                english("The query parameter {name} is given more than once.").format(name=name), code="bad_parameter"
            )


def check_names(names: Iterable[str], allowed: Container[str]) -> None:
    """Refuse names that are not allowed.

    Raises
    ------
    BadRequestError
    """
    for name in names:
        if name not in allowed:
            is_shown = name.isascii() and name.replace("-", "_").isidentifier() and len(name) <= MAX_SHOWN
            message = english("Unknown query parameter: {name}.").format(name=name)
            raise BadRequestError(message if is_shown else english("Unknown query parameter."), code="bad_parameter")
