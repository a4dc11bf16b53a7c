"""WADO-RS (PS3.18 10.4): metadata, frames, bulk data and instances of stored studies."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator, Sequence

from flask import Blueprint, Response, url_for

from db.archive import index as archive
from db.archive.index import ArchivedInstance
from webapp.dicomweb.attributes import retrieve_url
from webapp.dicomweb.multipart import Part, multipart
from webapp.dicomweb.negotiation import (
    JSON,
    OCTETS,
    UNCOMPRESSED,
    Choice,
    check_json,
    choose_bulk,
    choose_frames,
    choose_instances,
)
from webapp.endpoints import ANY_QUERY, READ_CLINICAL, endpoint
from webapp.http.errors import BadRequestError, NotFoundError
from webapp.ports import StoredFiles
from webapp.reading import blinded_reading
from webapp.services.registry import current_services, reference_to
from webapp.services.view_audit import ViewAudit

blueprint = Blueprint("wado", __name__, url_prefix="/dicom-web")

NUMBER_OF_FRAMES = "00280008"
MAX_FRAMES_ASKED = 10_000
STUDY = "/studies/<uid:study_uid>"
SERIES = STUDY + "/series/<uid:series_uid>"
BULK_TAG_PATH = re.compile(r"([0-9A-Fa-f]{8}/[0-9]{1,6}/){0,8}[0-9A-Fa-f]{8}")
INSTANCE = SERIES + "/instances/<uid:sop_uid>"


def instances_of(study_uid: str, series_uid: str | None = None, sop_uid: str | None = None) -> list[ArchivedInstance]:
    """Return the instances that a URL names.

    Raises
    ------
    NotFoundError
        There are none.
    """
    with current_services().database.read() as session:
        matches = archive.instances(
            session,
            [study_uid],
            series_instance_uids=[series_uid] if series_uid else (),
            sop_instance_uids=[sop_uid] if sop_uid else (),
            reads_first=blinded_reading.blind_reader(),
        )
    if not matches:
        raise NotFoundError("Study, series or instance not found.")
    return list(matches)


def instance_url(instance: ArchivedInstance) -> str:
    """Return the Retrieve URL of an instance."""
    return retrieve_url(
        study_uid=instance.study_instance_uid,
        series_uid=instance.series_instance_uid,
        sop_uid=instance.sop_instance_uid,
    )


def bulk_url(instance: ArchivedInstance) -> str:
    """Return the base URL of an instance's bulk data."""
    path = url_for(
        "wado.part10_files",
        study_uid=instance.study_instance_uid,
        series_uid=instance.series_instance_uid,
        sop_uid=instance.sop_instance_uid,
    )
    return reference_to(f"{path}/bulkdata")


@endpoint(
    blueprint,
    "GET",
    STUDY + "/metadata",
    SERIES + "/metadata",
    INSTANCE + "/metadata",
    may=READ_CLINICAL,
    query=ANY_QUERY,
    audit=ViewAudit.STUDY,
)
def metadata(study_uid: str, series_uid: str | None = None, sop_uid: str | None = None) -> Response:
    """Return instances in the DICOM JSON Model."""
    check_json()
    selected = instances_of(study_uid, series_uid, sop_uid)
    urls = [bulk_url(instance) for instance in selected]
    documents = current_services().files.documents([instance.path for instance in selected], urls)
    return Response(_listed(documents), content_type=JSON)


def _listed(documents: Iterator[str | None]) -> Iterator[str]:
    """Yield a JSON array of the readable instances; the first is read before anything is sent."""
    readable = (document for document in documents if document is not None)
    first = next(readable, None)
    return itertools.chain(["["], [] if first is None else [first], (f",{document}" for document in readable), ["]"])


@endpoint(
    blueprint, "GET", INSTANCE + "/frames/<frame_list>", may=READ_CLINICAL, query=ANY_QUERY, audit=ViewAudit.STUDY
)
def frames(study_uid: str, series_uid: str, sop_uid: str, frame_list: str) -> Response:
    """Return frames, as stored or uncompressed."""
    numbers = _frame_numbers(frame_list)
    instance = instances_of(study_uid, series_uid, sop_uid)[0]
    choice = choose_frames(instance.transfer_syntax_uid)
    send = functools.partial(_frame, current_services().files, instance, f"{instance_url(instance)}/frames", choice)
    if len(numbers) > 1:
        _check_frames(instance, numbers)
    first = send(numbers[0])
    if len(numbers) == 1 and not choice.is_multipart:
        return Response(
            first.pieces, content_type=first.content_type, headers={"Content-Length": str(first.size_bytes)}
        )
    return multipart(itertools.chain([first], map(send, numbers[1:])), choice.media_type)


def _frame_numbers(text: str) -> Sequence[int]:
    numbers = text.split(",")
    if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in numbers):
        raise BadRequestError("Frames must be integers, separated by commas.", code="bad_frames")
    if len(numbers) > MAX_FRAMES_ASKED:
        raise BadRequestError("Too many frames are requested at once.", code="bad_frames")
    return [int(number) for number in numbers]


def _check_frames(instance: ArchivedInstance, numbers: Sequence[int]) -> None:
    """Check that all frames exist, before anything is sent.

    Raises
    ------
    NotFoundError
    """
    document = next(current_services().files.documents([instance.path], [""]), None)
    value = json.loads(document).get(NUMBER_OF_FRAMES, {}).get("Value") if document else None
    count = int(value[0]) if value and value[0] else 1
    if not all(1 <= number <= count for number in numbers):
        raise NotFoundError("Frame not found.")


def _frame(files: StoredFiles, instance: ArchivedInstance, url: str, choice: Choice, number: int) -> Part:
    content = files.frame(instance.path, number, stored=choice.as_stored)
    if content is None:
        raise NotFoundError("Frame not found.")
    content_type = f"{choice.media_type}; transfer-syntax={content.transfer_syntax_uid}"
    return Part(content_type, f"{url}/{number}", content.size_bytes, content.pieces)


@endpoint(blueprint, "GET", STUDY, SERIES, INSTANCE, may=READ_CLINICAL, query=ANY_QUERY, audit=ViewAudit.STUDY)
def part10_files(study_uid: str, series_uid: str | None = None, sop_uid: str | None = None) -> Response:
    """Return instances as PS3.10 files, as stored or uncompressed."""
    selected = instances_of(study_uid, series_uid, sop_uid)
    choice = choose_instances([instance.transfer_syntax_uid for instance in selected])
    if len(selected) > 1:
        current_services().files.check([instance.path for instance in selected])
    send = functools.partial(_part10_file, current_services().files, choice)
    urls = [instance_url(instance) for instance in selected]
    first = send(selected[0], urls[0])
    if not choice.is_multipart:
        return Response(
            first.pieces, content_type=first.content_type, headers={"Content-Length": str(first.size_bytes)}
        )
    return multipart(itertools.chain([first], map(send, selected[1:], urls[1:])), choice.media_type)


def _part10_file(files: StoredFiles, choice: Choice, instance: ArchivedInstance, url: str) -> Part:
    syntax = instance.transfer_syntax_uid
    if choice.as_stored or syntax == UNCOMPRESSED:
        content = files.part10_file(instance.path, syntax)
    else:
        content = files.uncompressed(instance.path)
    content_type = f"{choice.media_type}; transfer-syntax={content.transfer_syntax_uid}"
    return Part(content_type, url, content.size_bytes, content.pieces)


@endpoint(
    blueprint, "GET", INSTANCE + "/bulkdata/<path:tag_path>", may=READ_CLINICAL, query=ANY_QUERY, audit=ViewAudit.STUDY
)
def bulk_data(study_uid: str, series_uid: str, sop_uid: str, tag_path: str) -> Response:
    """Return a bulk data value, at the URL given in the metadata."""
    steps = tag_path.split("/")
    if not BULK_TAG_PATH.fullmatch(tag_path):
        raise NotFoundError("Value not found.")
    instance = instances_of(study_uid, series_uid, sop_uid)[0]
    choice = choose_bulk()
    content = current_services().files.bulk(instance.path, steps)
    part = Part(OCTETS, f"{instance_url(instance)}/bulkdata/{tag_path}", content.size_bytes, content.pieces)
    if not choice.is_multipart:
        return Response(part.pieces, content_type=OCTETS, headers={"Content-Length": str(part.size_bytes)})
    return multipart([part], OCTETS)
