"""Content negotiation: media types and transfer syntaxes (PS3.18 8.7)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flask import request
from werkzeug.http import parse_accept_header, parse_options_header

from db.domain import uids
from webapp.http.errors import NotAcceptableError

DICOM, JSON, OCTETS = "application/dicom", "application/dicom+json", "application/octet-stream"
MULTIPART = "multipart/related"
ANY_SYNTAX = "*"
UNCOMPRESSED = uids.EXPLICIT_VR_LITTLE_ENDIAN
"""The default of uncompressed responses (PS3.18 8.7.3.5.2)."""
UNQUOTED_TYPE = re.compile(r"""\btype=([^\s",;]+)""")
"""Viewers leave out the quotes that a ``/`` in a parameter needs (RFC 9110 5.6.6)."""
STORED_TYPES = {
    uids.RLE_LOSSLESS: "image/dicom-rle",
    uids.JPEG_LOSSLESS: "image/jpeg",
    uids.JPEG_LOSSLESS_SV1: "image/jpeg",
    uids.JPEG_LS_LOSSLESS: "image/jls",
    uids.JPEG_LS_NEAR_LOSSLESS: "image/jls",
    uids.JPEG_2000_LOSSLESS: "image/jp2",
    uids.JPEG_2000: "image/jp2",
}
"""Media types of frames as they are stored (PS3.18 table 8.7.3-5)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One acceptable media type; ``transfer_syntax`` is empty if not specified."""

    media_type: str
    transfer_syntax: str = ""
    is_multipart: bool = False

    def matches(self, media_type: str) -> bool:
        """Return whether a media type matches, by name or wildcard."""
        kind, _, _ = media_type.partition("/")
        return self.media_type in {media_type, f"{kind}/*", "*/*"}


def accepted() -> list[Accepted]:
    """Return the acceptable media types by preference; the query's ``accept`` takes precedence over the header."""
    header = request.args.get("accept") or request.headers.get("Accept") or "*/*"
    offers = parse_accept_header(UNQUOTED_TYPE.sub(r'type="\1"', header))
    return [_accepted(value) for value, quality in offers if quality > 0]


def _accepted(text: str) -> Accepted:
    media_type, options = parse_options_header(text)
    syntax = options.get("transfer-syntax", "")
    if media_type.lower() == MULTIPART:
        return Accepted(options.get("type", "*/*").lower(), syntax, is_multipart=True)
    return Accepted(media_type.lower(), syntax)


def check_json() -> None:
    """Check that the caller accepts JSON.

    Raises
    ------
    NotAcceptableError
    """
    if not any(offer.matches(JSON) or offer.media_type == "application/json" for offer in accepted()):
        raise NotAcceptableError(JSON)


@dataclass(frozen=True, slots=True)
class Choice:
    """Chosen representation."""

    media_type: str
    as_stored: bool
    is_multipart: bool = True


def choose_frames(stored_syntax: str) -> Choice:
    """Choose the representation of frames of a stored transfer syntax.

    Raises
    ------
    NotAcceptableError
    """
    for offer in accepted():
        if offer.matches(OCTETS) and offer.transfer_syntax in {"", UNCOMPRESSED, ANY_SYNTAX, stored_syntax}:
            as_stored = offer.transfer_syntax in {ANY_SYNTAX, stored_syntax} and bool(offer.transfer_syntax)
            return Choice(OCTETS, as_stored, offer.is_multipart or offer.media_type == "*/*")
        compressed = STORED_TYPES.get(stored_syntax)
        if compressed and offer.matches(compressed) and offer.transfer_syntax in {"", ANY_SYNTAX, stored_syntax}:
            return Choice(compressed, as_stored=True, is_multipart=offer.is_multipart)
    raise NotAcceptableError(OCTETS)


def choose_bulk() -> Choice:
    """Choose the representation of bulk data: octet-stream, multipart by default.

    Raises
    ------
    NotAcceptableError
    """
    for offer in accepted():
        if offer.matches(OCTETS):
            return Choice(OCTETS, as_stored=True, is_multipart=offer.is_multipart or offer.media_type == "*/*")
    raise NotAcceptableError(OCTETS)


def choose_instances(stored_syntaxes: Sequence[str]) -> Choice:
    """Choose the representation of instances: as stored, or uncompressed.

    Raises
    ------
    NotAcceptableError
    """
    stored = set(stored_syntaxes)
    for offer in accepted():
        if not offer.matches(DICOM):
            continue
        is_multipart = offer.is_multipart or offer.media_type == "*/*" or len(stored_syntaxes) > 1
        if offer.transfer_syntax == ANY_SYNTAX or {offer.transfer_syntax} == stored:
            return Choice(DICOM, as_stored=True, is_multipart=is_multipart)
        if offer.transfer_syntax in {"", UNCOMPRESSED}:
            return Choice(DICOM, as_stored=False, is_multipart=is_multipart)
    raise NotAcceptableError(DICOM)
