"""Validation and normalization of account names."""

from __future__ import annotations

import unicodedata

from db.domain.errors import InvalidRecordError
from db.engine.session import key_text

ADMINISTRATOR = "administrator"
"""Actor of commands."""
ANONYMOUS = "anonymous"
"""Actor of refused sign-ins."""
PROVIDER_PREFIX = "sso:"
"""Prefix of the actor name of an identity provider's account."""
TOKEN_ACTOR_PREFIX = "token:"  # noqa: S105 (a prefix, not a secret)
_RESERVED_PREFIXES = (PROVIDER_PREFIX, TOKEN_ACTOR_PREFIX)
MAX_NAME = 64


def account_name(name: str) -> str:
    """Return the name of a new user or token, normalized (NFC).

    Raises
    ------
    InvalidRecordError
        Empty, too long, not printable, or with the prefix of another kind of account.
    """
    name = key_text("name", unicodedata.normalize("NFC", name), limit=MAX_NAME)
    if not name or not name.isprintable():
        raise InvalidRecordError("name", f"must have 1 to {MAX_NAME} printable characters")
    if name_key(name).startswith(_RESERVED_PREFIXES):
        raise InvalidRecordError("name", "must not start with sso: or token:")
    return name


def name_key(name: str) -> str:
    """Return the lookup key of a name: case and compatibility forms do not count."""
    key = unicodedata.normalize("NFKC", name.strip(" ")).casefold()[:256]
    return key.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def display_name(text: str) -> str:
    """Return an external name fit for display: one line, no control or direction characters, 64 at most.

    Returns
    -------
    str
        Empty if no printable character remains.
    """
    spaced = "".join(" " if unicodedata.category(c).startswith("Z") else c for c in text[: 16 * MAX_NAME])
    printable = "".join(c for c in spaced if not unicodedata.category(c).startswith("C"))
    return " ".join(unicodedata.normalize("NFC", printable).split())[:MAX_NAME].rstrip()
