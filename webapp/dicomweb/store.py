"""STOW-RS (PS3.18 10.5): posted instances pass the same intake as those received by C-STORE."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from werkzeug.http import parse_options_header

from db.archive import index as archive
from webapp.accounts.identity import principal
from webapp.dicomweb.attributes import Attributes, retrieve_url, values
from webapp.dicomweb.boundaries import PlainBoundaries
from webapp.dicomweb.negotiation import DICOM, JSON, MULTIPART, UNQUOTED_TYPE, check_json
from webapp.endpoints import ANY_QUERY, UPLOAD, endpoint
from webapp.http.errors import BadRequestError, UnfitInputError
from webapp.ports import InstanceOutcome, InstanceReception
from webapp.services.registry import Services, compute_slot, current_services

blueprint = Blueprint("stow", __name__, url_prefix="/dicom-web")

READ_BYTES = 1 << 18
MAX_INSTANCES = 20_000
MAX_FAILED = 1000
"""Failed parts after which the rest of a body is not read."""
OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000


@endpoint(blueprint, "POST", "/studies", "/studies/<uid:study_uid>", may=UPLOAD, query=ANY_QUERY, is_upload=True)
def store(study_uid: str = "") -> Response:
    """Store the posted instances, and return the outcome of each."""
    check_json()
    parts = _Parts(current_services(), principal().name, study_uid)
    with compute_slot():
        _read(parts, _boundary())
    if not parts.outcomes:
        raise BadRequestError("The body contains no instance.", code="no_instance")
    return _answer(parts.outcomes, study_uid)


def _boundary() -> str:
    """Return the boundary of the parts.

    Raises
    ------
    UnfitInputError
        415 for anything but multipart/related PS3.10 files.
    """
    media_type, options = parse_options_header(UNQUOTED_TYPE.sub(r'type="\1"', request.headers.get("Content-Type", "")))
    if media_type.lower() != MULTIPART or options.get("type", DICOM).lower() != DICOM or not options.get("boundary"):
        raise UnfitInputError(
            415, "unsupported_type", 'Send multipart/related; type="application/dicom" with a boundary.'
        )
    return options["boundary"]


def _read(parts: _Parts, boundary: str) -> None:
    """Read the body in chunks; an incomplete part is discarded.

    Raises
    ------
    BadRequestError
        The body is malformed. Instances stored before stay; a re-send is harmless.
    """
    try:
        parser = MultipartParser(boundary.encode("ascii"), parts.callbacks())
        plain = PlainBoundaries(boundary.encode("ascii"))
        while piece := request.stream.read(READ_BYTES):
            parser.write(plain.feed(piece))
        parser.write(plain.rest())
    except (FormParserError, UnicodeEncodeError):
        raise BadRequestError("The multipart body is malformed.", code="bad_multipart") from None
    finally:
        parts.abandon()
    if not parts.has_ended:
        raise BadRequestError("The body is incomplete.", code="bad_multipart")


class _Parts:
    """Receiver of the parser's callbacks, which collects the outcomes."""

    def __init__(self, services: Services, actor: str, study_uid: str) -> None:
        self._services, self._actor, self._study_uid = services, actor, study_uid
        self._open: InstanceReception | None = None
        self.outcomes: list[InstanceOutcome] = []
        self.has_ended = False
        self._failed = 0

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def abandon(self) -> None:
        if self._open is not None:
            self._open.abandon()
            self._open = None

    def _begin(self) -> None:
        if len(self.outcomes) >= MAX_INSTANCES:
            raise UnfitInputError(413, "too_many_instances", f"Send at most {MAX_INSTANCES} instances at once.")
        self._open = self._services.intake.open_instance(actor=self._actor, study_instance_uid=self._study_uid)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._open is not None:
            self._open.write(memoryview(data)[start:end])

    def _end(self) -> None:
        if self._open is not None:
            outcome = self._open.finish()
            self._open = None
            self.outcomes.append(outcome)
            self._failed += not outcome.is_stored
            if self._failed > MAX_FAILED:
                raise UnfitInputError(
                    413,
                    "too_many_failures",
                    f"More than {MAX_FAILED} parts could not be stored; the rest was not read.",
                )

    def _finish(self) -> None:
        self.has_ended = True


def _answer(outcomes: list[InstanceOutcome], study_uid: str) -> Response:
    """Return the Store Instances Response (PS3.18 10.5.3): 200, 202 if some failed, 409 or 503 if all did."""
    stored = [outcome for outcome in outcomes if outcome.is_stored]
    failed = [outcome for outcome in outcomes if not outcome.is_stored]
    document: Attributes = {}
    if study_uid:
        document["00081190"] = values("UR", retrieve_url(study_uid=study_uid))
    if failed:
        document["00081198"] = {"vr": "SQ", "Value": [_failure(outcome) for outcome in failed]}
    if stored:
        document["00081199"] = {"vr": "SQ", "Value": _references(stored)}
    return Response(json.dumps(document), status=_status(stored, failed), content_type=JSON)


def _status(stored: list[InstanceOutcome], failed: list[InstanceOutcome]) -> int:
    if not failed:
        return 200
    if stored:
        return 202
    return 503 if any(outcome.failure_reason == OUT_OF_RESOURCES for outcome in failed) else 409


def _failure(outcome: InstanceOutcome) -> Attributes:
    return _named(outcome) | {"00081197": values("US", outcome.failure_reason or CANNOT_UNDERSTAND)}


def _references(stored: list[InstanceOutcome]) -> list[Attributes]:
    with current_services().database.read() as session:
        parents = archive.parent_uids(session, [outcome.sop_instance_uid for outcome in stored])
    return [
        _named(outcome) | {"00081190": values("UR", _url(parents.get(outcome.sop_instance_uid), outcome))}
        for outcome in stored
    ]


def _url(parent: tuple[str, str] | None, outcome: InstanceOutcome) -> str | None:
    if parent is None:
        return None
    return retrieve_url(study_uid=parent[0], series_uid=parent[1], sop_uid=outcome.sop_instance_uid)


def _named(outcome: InstanceOutcome) -> Attributes:
    return {"00081150": values("UI", outcome.sop_class_uid), "00081155": values("UI", outcome.sop_instance_uid)}
