"""scrypt password hashes; each hash carries its own parameters."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from base64 import b64decode, b64encode

from db.domain.errors import InvalidRecordError

SCRYPT = {"n": 2**15, "r": 8, "p": 1}
"""32 MiB and about 80 ms (OWASP's password storage cheat sheet, 2024: a recommended setting is n=2^15, r=8, p=3)."""
SCRYPT_MEMORY = 64 * 1024 * 1024
PASSWORD_MIN = 12
PASSWORD_MAX = 256


def checked_password(password: str) -> str:
    """Return the password if its length is allowed.

    Raises
    ------
    InvalidRecordError
        Shorter than 12 or longer than 256 characters.
    """
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise InvalidRecordError("password", f"must have {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    return password


def hashed(password: str) -> str:
    """Hash a password with a fresh salt."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(_normalized(password), salt=salt, maxmem=SCRYPT_MEMORY, **SCRYPT)
    return f"{_recipe()}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def matches(password_hash: str, password: str) -> bool:
    """Return whether the password matches the hash, compared in constant time."""
    _, n, r, p, salt, expected = password_hash.split("$")
    digest = hashlib.scrypt(
        _normalized(password[: PASSWORD_MAX + 1]),
        salt=b64decode(salt),
        n=int(n),
        r=int(r),
        p=int(p),
        maxmem=SCRYPT_MEMORY,
    )
    return hmac.compare_digest(digest, b64decode(expected))


def decoy() -> str:
    """Return a hash that no password matches and that costs as much to check as a real one."""
    return f"{_recipe()}${b64encode(secrets.token_bytes(16)).decode()}${b64encode(secrets.token_bytes(64)).decode()}"


def _recipe() -> str:
    return "scrypt$" + "$".join(str(SCRYPT[name]) for name in ("n", "r", "p"))


def _normalized(password: str) -> bytes:
    """Return the NFC form, equal for every keyboard that types the same characters (RFC 8265)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
