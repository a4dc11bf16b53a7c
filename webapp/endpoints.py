"""Declaration of endpoints: route, roles, rate limit, audit, parameters, form or body, and answers, each stated once.

``endpoint`` adds a route to a blueprint and its declaration to the app. The guard, ``/openapi.json`` and the table of
roles (``webapp.access_table``) read the declarations; an app with an undeclared route does not start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, ParamSpec, TypedDict, TypeVar, Unpack

from flask import Blueprint, Flask, Response, current_app, g, request
from flask.sansio.app import App
from pydantic import BaseModel, ValidationError

from db.domain.accounts import Role
from webapp.http.errors import BadRequestError, UnfitInputError, WebError
from webapp.http.forms import json_body
from webapp.http.rate_limit import RateClass
from webapp.services.registry import current_services
from webapp.services.view_audit import ViewAudit

ADMIN, RADIOLOGIST, AUDITOR, SERVICE = Role.ADMIN, Role.RADIOLOGIST, Role.AUDITOR, Role.SERVICE

Roles = frozenset[Role] | None
"""The permitted roles; None means everyone, signed in or not."""

EVERYONE: Final[Roles] = None
SIGNED_IN: Final = frozenset(Role)
READ_CLINICAL: Final = frozenset(Role)
UPLOAD: Final = frozenset({ADMIN, RADIOLOGIST, SERVICE})
DECIDE: Final = frozenset({RADIOLOGIST})
"""A verdict on a finding is a clinical act: an administrator's account is not a reader's."""
OPERATE: Final = frozenset({ADMIN, RADIOLOGIST})
ADMINISTER: Final = frozenset({ADMIN})
AUDIT: Final = frozenset({ADMIN, AUDITOR})
OBSERVE: Final = frozenset({ADMIN, AUDITOR, SERVICE})

Content = dict[str, Any]
"""OpenAPI content of an answer: schemas by media type."""
PNG: Final[Content] = {"image/png": {"schema": {"type": "string", "contentEncoding": "binary"}}}
HTML: Final[Content] = {"text/html": {"schema": {"type": "string"}}}
TEXT: Final[Content] = {"text/plain": {"schema": {"type": "string"}}}
EVENTS: Final[Content] = {"text/event-stream": {"schema": {"type": "string"}}}
JSON_OBJECT: Final[Content] = {"application/json": {"schema": {"type": "object"}}}
EMPTY: Final[Content] = {}

ANY_QUERY: Final = None
"""Query parameters are not checked by the guard: they are ignored, or DICOMweb's own rules apply."""

EXTENSION = "lungnode_endpoints"
P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=BaseModel)


class NoQuery(BaseModel):
    """No query parameters."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Error for a field of a request that does not fit its annotation, in whose metadata it stands."""

    message: str
    """For users, with ``{name}`` for the field's name; it never contains the value."""
    code: str = "invalid_field"
    status: int = 422
    is_missing: bool = False
    """True if it is for a missing field only."""

    def error(self, name: str) -> WebError:
        """Return the error for a field."""
        message = self.message.format(name=name)
        if self.status == 400:
            return BadRequestError(message, code=self.code)
        return UnfitInputError(self.status, self.code, message)


class EndpointFacts(TypedDict, total=False):
    """Optional fields of ``Endpoint``."""

    answers: Mapping[int, Any]
    errors: tuple[int, ...]
    query: type[BaseModel] | None
    body: type[BaseModel] | None
    form: type[BaseModel] | None
    alternative: Content
    limit: RateClass | None
    audit: ViewAudit | None
    counts_refusals: bool
    is_upload: bool
    is_probe: bool
    is_cross_origin: bool
    is_background: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Declaration of one method of one view."""

    name: str
    """Flask's name of the view: blueprint and function."""
    method: str
    paths: tuple[str, ...]
    """URL rules."""
    may: Roles
    summary: str
    """First line of the view's docstring."""
    answers: Mapping[int, Any] = field(default_factory=dict)
    """Model or content by HTTP status, the usual one first; empty for endpoints left out of ``/openapi.json``."""
    errors: tuple[int, ...] = ()
    """Error statuses besides those of every endpoint, of the path (404), of the limit (429) and of body or form."""
    query: type[BaseModel] | None = NoQuery
    body: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    """Model of the ``multipart/form-data`` or URL-encoded form."""
    alternative: Content = field(default_factory=dict)
    """Further content of the first answer, selected by ``Accept``."""
    limit: RateClass | None = None
    """Rate limit per client address."""
    audit: ViewAudit | None = None
    """Audit event of a successful request, recorded before its answer is sent; if that fails, nothing is shown."""
    counts_refusals: bool = False
    """True if its errors are counted in ``lungnode_upload_refusals``."""
    is_upload: bool = False
    """True if the body may be as large as an upload."""
    is_probe: bool = False
    """True if it is exempt from the host check."""
    is_cross_origin: bool = False
    """True if the origins of ``WebOptions.cors_origins`` may use it."""
    is_background: bool = False
    """True if its requests are automatic, and do not extend a session."""

    def permits(self, role: Role | None) -> bool:
        """Return whether a role (None: not signed in) may use it."""
        return self.may is None or role in self.may


def endpoint(
    blueprint: Blueprint, method: str, *paths: str, may: Roles, **facts: Unpack[EndpointFacts]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Add a view to a blueprint with its declaration.

    The view is called with the path's variables, with ``query``, ``body`` and ``form`` where models of these are
    declared, and may return a model of ``answers``.

    Parameters
    ----------
    paths
        URL rules, relative to the blueprint's prefix.
    may
        The permitted roles; required.
    facts
        Other fields of ``Endpoint``.
    """

    def add(view: Callable[P, R]) -> Callable[P, R]:
        declaration = Endpoint(
            name=f"{blueprint.name}.{view.__name__}",
            method=method,
            paths=tuple(f"{blueprint.url_prefix or ''}{path}" for path in paths),
            may=may,
            summary=(view.__doc__ or "").partition("\n")[0].removesuffix("."),
            **facts,
        )

        @functools.wraps(view)
        def answer(*args: P.args, **variables: P.kwargs) -> Any:
            try:
                variables.update(_models(declaration))
                response = _response(view(*args, **variables), declaration)
            except WebError as refusal:
                if declaration.counts_refusals:
                    current_services().metrics.refusals.labels(refusal.code).inc()
                raise
            if declaration.audit is not None:
                subject = str(variables.get(declaration.audit.variable) or g.viewed)
                current_services().view_log.record(declaration.audit, g.principal.name, subject)
            return response

        for path in paths:
            blueprint.add_url_rule(path, view_func=answer, methods=[method])
        blueprint.record(lambda state: declare(state.app, declaration))
        return view

    return add


def validated(model: type[M], values: Mapping[str, Any]) -> M:
    """Return values as a model.

    Raises
    ------
    BadRequestError, UnfitInputError
        By the rule of the first field that does not fit.
    """
    try:
        return model.model_validate(values)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
    name = str(error["loc"][0])
    rules = rules_of(model, name)
    fitting = [rule for rule in rules if rule.is_missing == (error["type"] == "missing")] or rules
    raise fitting[0].error(name)


def rules_of(model: type[BaseModel], name: str) -> list[Rule]:
    """Return the rules of a field of a request."""
    return [rule for rule in model.model_fields[name].metadata if isinstance(rule, Rule)]


def is_body_required(model: type[BaseModel]) -> bool:
    """Return whether a request needs a body of this model."""
    return any(entry.is_required() for entry in model.model_fields.values())


def _models(declaration: Endpoint) -> dict[str, BaseModel]:
    """Return the checked query, body and form of the current request, as far as they are declared."""
    models: dict[str, BaseModel] = {}
    if declaration.query is not None and declaration.query is not NoQuery:
        models["query"] = validated(declaration.query, request.args)
    if declaration.body is not None:
        models["body"] = _body(declaration.body)
    if declaration.form is not None:
        models["form"] = _form(declaration.form)
    return models


def _form(model: type[M]) -> M:
    """Return the form of the current request; blank fields are absent, and files are in lists."""
    for name, values in request.form.lists():
        if name in model.model_fields and len(set(values)) > 1:
            raise UnfitInputError(422, "invalid_field", f"The field {name} is given more than once.")
    texts = {name: text for name, text in request.form.items() if text.strip()}
    return validated(model, texts | dict(request.files.lists()))


def _body(model: type[M]) -> M:
    """Return the body of the current request."""
    return validated(model, json_body() if request.data or is_body_required(model) else {})


def _response(answer: Any, declaration: Endpoint) -> Any:
    """Return a view's answer as a response, a model as JSON; its status is the usual one unless stated."""
    model, status = answer if isinstance(answer, tuple) else (answer, next(iter(declaration.answers), 200))
    if not isinstance(model, BaseModel):
        return answer
    if type(model) is not declaration.answers[status]:
        raise TypeError(f"{declaration.name} does not declare {type(model).__name__} for {status}")
    return Response(model.model_dump_json(), status, mimetype="application/json")


def declare(app: App, declaration: Endpoint) -> None:
    """Add a declaration to an app."""
    _declarations(app)[declaration.name, declaration.method] = declaration


def declare_static(app: Flask) -> None:
    """Declare Flask's own route of static files."""
    paths = (f"{app.static_url_path}/<path:filename>",)
    summary = "Static files"
    declare(app, Endpoint(name="static", method="GET", paths=paths, may=EVERYONE, summary=summary, query=ANY_QUERY))


def check_declared(app: Flask) -> None:
    """Check that every route of an app is declared.

    Raises
    ------
    LookupError
        For a route that nothing permits.
    """
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if (rule.endpoint, method) not in _declarations(app):
                raise LookupError(f"{method} {rule.rule} is not declared: use webapp.endpoints.endpoint")


def declared(app: Flask) -> tuple[Endpoint, ...]:
    """Return the declarations of an app."""
    return tuple(_declarations(app).values())


def find(name: str | None, method: str) -> Endpoint | None:
    """Return the declaration of a view and method of the current app (HEAD counts as GET)."""
    return _declarations(current_app).get((name or "", "GET" if method == "HEAD" else method))


def may(role: Role | None, name: str, method: str) -> bool:
    """Return whether a role (None: not signed in) may use a view with this method (False if undeclared)."""
    declaration = find(name, method)
    return declaration is not None and declaration.permits(role)


def _declarations(app: App) -> dict[tuple[str, str], Endpoint]:
    declarations: dict[tuple[str, str], Endpoint] = app.extensions.setdefault(EXTENSION, {})
    return declarations
