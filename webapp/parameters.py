"""Query parameters of our own pages and API.

One that does not exist is refused: left out, it would show more than was asked for.
DICOMweb has rules of its own (``webapp.dicomweb``). Pages for everyone, probes and metrics answer alike whatever is
asked, and an identity provider may add parameters to its answer.
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
"""By endpoint; those that are not listed have none."""
DICOMWEB: Final = frozenset({"qido", "rendered", "stow", "wado"})
UNCHECKED: Final = frozenset({"health.metrics"})
MAX_SHOWN: Final = 64


def is_checked(endpoint: str) -> bool:
    """Whether unknown parameters of this endpoint are refused."""
    is_public = access.may(None, endpoint, "GET")
    return not is_public and endpoint not in UNCHECKED and endpoint.partition(".")[0] not in DICOMWEB


def check_request(endpoint: str) -> None:
    """Refuse a read request with a parameter that its endpoint does not have, or that is given more than once.

    Raises
    ------
    BadRequestError
        400, naming the parameter, never its value.
    """
    if request.method not in ("GET", "HEAD") or not is_checked(endpoint):
        return
    check_names(request.args, PARAMETERS.get(endpoint, frozenset()))
    for name, values in request.args.lists():
        if len(values) > 1:
            raise BadRequestError(
                english("The query parameter {name} is given more than once.").format(name=name), code="bad_parameter"
            )


def check_names(names: Iterable[str], allowed: frozenset[str]) -> None:
    """Refuse the first name that is not allowed.

    Raises
    ------
    BadRequestError
    """
    for name in names:
        if name not in allowed:
            is_shown = name.isascii() and name.replace("-", "_").isidentifier() and len(name) <= MAX_SHOWN
            known = english("Unknown query parameter: {name}.").format(name=name)
            raise BadRequestError(known if is_shown else english("Unknown query parameter."), code="bad_parameter")
