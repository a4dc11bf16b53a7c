"""Validation of query parameters.

Unknown parameters are refused: ignored, they would widen the result. DICOMweb has its own rules (``webapp.dicomweb``).
Public pages, probes and metrics ignore parameters, and an identity provider may add parameters to its redirect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from flask import request

from webapp.accounts import access
from webapp.api.worklist_query import FIELDS
from webapp.http.errors import BadRequestError
from webapp.http.i18n import english

WORKLIST: Final = frozenset({*FIELDS, "limit", "cursor"})
PARAMETERS: Final[Mapping[str, frozenset[str]]] = {
    "worklist.page": WORKLIST,
    "worklist.listing": WORKLIST,
    "trail.page": frozenset({"subject", "before"}),
    "admin.delivery_listing": frozenset({"status"}),
    "studies.attention": frozenset({"map"}),
}
"""Parameters of read requests by endpoint; others, and requests that change something, have none."""
DICOMWEB: Final = frozenset({"qido", "rendered", "stow", "wado"})
UNCHECKED: Final = frozenset({"health.metrics"})
MAX_SHOWN: Final = 64


def is_checked(endpoint: str, method: str) -> bool:
    """Return whether unknown parameters of an operation are refused: of all that are neither public nor DICOMweb."""
    is_public = access.may(None, endpoint, method)
    return not is_public and endpoint not in UNCHECKED and endpoint.partition(".")[0] not in DICOMWEB


def check_request(endpoint: str) -> None:
    """Refuse a request with an unknown or repeated parameter.

    Raises
    ------
    BadRequestError
        400, naming the parameter, never its value.
    """
    if not is_checked(endpoint, request.method):
        return
    is_read = request.method in ("GET", "HEAD")
    check_names(request.args, PARAMETERS.get(endpoint, frozenset()) if is_read else frozenset())
    for name, values in request.args.lists():
        if len(values) > 1:
            raise BadRequestError(
                english("The query parameter {name} is given more than once.").format(name=name), code="bad_parameter"
            )


def check_names(names: Iterable[str], allowed: frozenset[str]) -> None:
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
