"""Refusal of ambiguously framed HTTP requests (request smuggling; RFC 9112, 6.3, 11.2).

waitress takes the body by Transfer-Encoding where Content-Length is given as well, joins header lines that are folded
or sent twice, and ignores Transfer-Encoding of HTTP/1.0. A proxy may differ, so each of these is answered with 400 and
the connection is closed.
"""

from __future__ import annotations

from collections import Counter

from waitress.parser import ParsingError

SINGLE_FIELDS = (b"host", b"content-length", b"transfer-encoding")


def check_framing(header: bytes) -> None:
    """Check request line and header fields, without the empty line that ends them.

    Raises
    ------
    ParsingError
        Two lengths, a folded or bare line, a coding other than chunked at the end, or not exactly one host.
    """
    request_line, *lines = header.removesuffix(b"\r\n").split(b"\r\n")
    if any(line[:1] in (b" ", b"\t") for line in lines):
        raise ParsingError("Folded header lines are refused.")
    if any(b"\r" in line or b"\n" in line or b"\0" in line for line in (request_line, *lines)):
        raise ParsingError("Bare CR, LF or NUL in the header.")
    fields = [
        (name.strip().lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)
    ]
    counts = Counter(name for name, _ in fields)
    for name in SINGLE_FIELDS:
        if counts[name] > 1:
            raise ParsingError("A header field is given twice.")
    is_http10 = not request_line.rstrip().endswith(b"HTTP/1.1")
    if not is_http10 and not counts[b"host"]:
        raise ParsingError("The Host header is missing.")
    if counts[b"transfer-encoding"]:
        _check_coding(
            dict(fields)[b"transfer-encoding"], has_length=bool(counts[b"content-length"]), is_http10=is_http10
        )


def _check_coding(value: bytes, *, has_length: bool, is_http10: bool) -> None:
    """Refuse errors by RFC 9112, 6.1 and 6.3; unsupported codings get 501 from waitress."""
    if has_length or is_http10:
        raise ParsingError("Transfer-Encoding with Content-Length, or in version 1.0.")
    codings = [coding.strip(b" \t").lower() for coding in value.split(b",")]
    if codings[-1] != b"chunked" or codings.count(b"chunked") > 1:
        raise ParsingError("The last transfer coding must be chunked, once.")
