"""Decoding of text by Specific Character Set (PS3.3 C.12.1.1.2), without warnings that quote it.

The slices of a study say the same again and again, so what was decoded lately is remembered.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydicom.charset import CODES_TO_ENCODINGS, default_encoding, handled_encodings, python_encoding

_TEXT_DELIMITERS = b"\r\n\t\f"
_NAME_DELIMITERS = b"\r\n\t\f^="
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\r\n\t]")
_MULTI_BYTE_SETS = frozenset({"58", "87", "149", "159"})
"""ISO-IR numbers of sets that are used with code extensions alone (PS3.3 table C.12-4)."""
_UPPER_HALF = frozenset({"iso_ir_58", "euc_kr"})
"""Multi-byte sets in G1: ASCII stays unchanged."""
_CODECS = {"iso_ir_58": "gb18030"}
"""Python's codec of ISO-IR 58 keeps the escape sequences in the text; GB18030 is a superset of the set."""
_WITHOUT_ESCAPES = frozenset({"UTF8", "GB18030", "GBK"})
"""Sets that have no code extensions (PS3.3 C.12.1.1.2): even next to others they apply to all of the text."""
_MISSPELT = re.compile(r"ISO[ _-]?(2022[ _-])?IR[ _-]?(\d+)")


@lru_cache(maxsize=64)
def character_encodings(specific_character_set: bytes) -> tuple[str, ...]:
    """Return Python's codecs for a raw (0008,0005), the first for text without escape sequences.

    An unknown name gives ``("",)``: the text is then read as UTF-8 where it is that, else byte by byte.
    """
    encodings = []
    for term in specific_character_set.decode("latin-1").strip("\0 ").split("\\"):
        name = term.strip("\0 ").upper()
        if match := _MISSPELT.fullmatch(name):
            name = f"ISO 2022 IR {match[2]}" if match[1] or match[2] in _MULTI_BYTE_SETS else f"ISO_IR {match[2]}"
        encodings.append(python_encoding.get(name, ""))
    if unescaped := [encoding for encoding in encodings if encoding in _WITHOUT_ESCAPES]:
        return (unescaped[0],)
    if len(encodings) > 1:
        return (encodings[0] or default_encoding, *(encoding for encoding in encodings[1:] if encoding))
    return tuple(encodings)


@lru_cache(maxsize=1024)
def decode_text(raw: bytes, encodings: tuple[str, ...], *, is_name: bool = False) -> str:
    """Decode a text or person name; undecodable bytes become U+FFFD.

    Control characters become U+FFFD too: they have no business in a name, and databases refuse some.
    """
    raw = raw.rstrip(b"\0 ")
    if b"\x1b" not in raw:
        text = _decode(raw, _encoding_of_plain(raw, encodings))
    else:
        delimiters = _NAME_DELIMITERS if is_name else _TEXT_DELIMITERS
        parts = re.findall(rb"^[^\x1b]+|\x1b[^\x1b]*", raw)
        text = "".join(_decode_part(part, encodings, delimiters) for part in parts)
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).strip()


def _encoding_of_plain(raw: bytes, encodings: tuple[str, ...]) -> str:
    """Return the codec of a text without escape sequences.

    Some senders leave out the sequence that designates a set to G1; where the first set has nothing there (ISO-IR 6),
    the bytes can belong to that one alone.
    """
    if not raw.isascii() and encodings[0] == default_encoding and encodings[1:2] and encodings[1] in _UPPER_HALF:
        return _CODECS.get(encodings[1], encodings[1])
    return encodings[0]


def _decode(raw: bytes, encoding: str) -> str:
    if encoding:
        return raw.decode(_CODECS.get(encoding, encoding), errors="replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _decode_part(part: bytes, encodings: tuple[str, ...], delimiters: bytes) -> str:
    """Decode the text after one escape sequence; a delimiter ends its effect (PS3.5 6.1.2.5.3)."""
    size = 4 if part[:3] in (b"\x1b$(", b"\x1b$)") else 3
    encoding = CODES_TO_ENCODINGS.get(part[:size], "") if part[:1] == b"\x1b" else ""
    if not encoding:
        return _decode(part, encodings[0])
    if encoding in handled_encodings and encoding not in _CODECS:  # this codec reads the escape sequences itself
        return part.decode(encoding, errors="replace")
    part = part[size:]
    if encoding in _UPPER_HALF and encodings[0] in (default_encoding, encoding):
        return _decode(part, encoding)  # nothing else has the upper half, so that a delimiter changes nothing
    end = next((at for at, byte in enumerate(part) if byte in delimiters), len(part))
    return _decode(part[:end], encoding) + _decode(part[end:], encodings[0])
