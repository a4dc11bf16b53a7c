"""STOW-RS (PS3.18 10.5) to a DICOMweb archive, and QIDO-RS (10.6) to verify what it stored."""

from __future__ import annotations

import json
import secrets
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.client.peer import NodeUnreachableError, RemoteNode, ScuTimeouts, StoreAnswer, StoreOutcome

_FAILED_SOP_SEQUENCE, _FAILURE_REASON, _SOP_INSTANCE_UID = "00081198", "00081197", "00080018"
_DUPLICATE = 0x0111
_TRY_LATER = frozenset({401, 403, 404, 408, 413, 425, 429})
"""Statuses of faults that an administrator can correct (a token, an address) or that pass; the object is resent."""
_MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: bytes


class WebNode:
    """A DICOMweb archive.

    Parameters
    ----------
    node
        With its ``url``, the base of the service; ``authorization`` is sent as that header.
    """

    def __init__(self, node: RemoteNode, timeouts: ScuTimeouts | None = None) -> None:
        self._node = node
        self._timeout_s = (timeouts or ScuTimeouts()).response_s
        handlers: list[Any] = [urllib.request.ProxyHandler({}), _NoRedirect()]
        if node.ca_file is not None:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(node.ca_file))))
        self._opener = urllib.request.build_opener(*handlers)

    def store(self, path: Path) -> StoreAnswer:
        """Send one instance.

        Raises
        ------
        NodeUnreachableError
        """
        try:
            content = path.read_bytes()
        except OSError:
            return StoreAnswer(StoreOutcome.REFUSED, "the object's file is gone or damaged on our side")
        boundary = secrets.token_hex(16)
        body = b"--%b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--%b--\r\n" % (
            boundary.encode(),
            content,
            boundary.encode(),
        )
        content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        return _answer(self._ask("/studies", body, {"Content-Type": content_type}))

    def has_instance(self, study_instance_uid: str, sop_instance_uid: str) -> bool:
        """Return True if the archive lists an instance.

        Raises
        ------
        NodeUnreachableError
        """
        query = urllib.parse.urlencode({"SOPInstanceUID": sop_instance_uid, "limit": 1})
        reply = self._ask(f"/studies/{urllib.parse.quote(study_instance_uid)}/instances?{query}")
        if reply.status != 200:
            return False
        payload = _json(reply.body)
        return isinstance(payload, list) and any(
            isinstance(match, dict) and (match.get(_SOP_INSTANCE_UID) or {}).get("Value") == [sop_instance_uid]
            for match in payload
        )

    def _ask(self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> _Reply:
        request = urllib.request.Request(self._node.url.rstrip("/") + path, body)  # noqa: S310 (settings allow http, https)
        for name, value in {"Accept": "application/dicom+json", **(headers or {})}.items():
            request.add_header(name, value)
        if self._node.authorization:
            request.add_header("Authorization", self._node.authorization)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                return _Reply(response.status, response.read(_MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                return _Reply(error.code, error.read(_MAX_ANSWER_BYTES))
        except ssl.SSLError:
            raise NodeUnreachableError("its TLS certificate is not trusted") from None
        except urllib.error.URLError as error:
            reason = "its TLS certificate is not trusted" if isinstance(error.reason, ssl.SSLError) else "no answer"
            raise NodeUnreachableError(f"{reason} at its URL") from None
        except (OSError, ValueError):
            raise NodeUnreachableError("no answer at its URL") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: neither patient data nor the token go to another host."""

    def redirect_request(self, *_: object) -> None:
        """Refuse every redirect."""


def _answer(reply: _Reply) -> StoreAnswer:
    """Map a STOW-RS response to an outcome (PS3.18 table 10.5.3-1)."""
    failures = _failures(reply.body) if reply.status in (200, 202, 409) else []
    if failures == [_DUPLICATE]:
        return StoreAnswer(StoreOutcome.STORED, "the node had it already")
    if failures:
        return StoreAnswer(StoreOutcome.REFUSED, f"the node refused it (0x{failures[0]:04X})")
    if reply.status in (200, 202):
        return StoreAnswer(StoreOutcome.STORED, "" if reply.status == 200 else "stored with a warning (HTTP 202)")
    if reply.status in _TRY_LATER or reply.status >= 500:
        return StoreAnswer(StoreOutcome.TRY_LATER, f"the node answered HTTP {reply.status}")
    if reply.status in (406, 415):
        return StoreAnswer(StoreOutcome.NOT_TAKEN, f"the node does not accept this object (HTTP {reply.status})")
    return StoreAnswer(StoreOutcome.REFUSED, f"the node refused it (HTTP {reply.status})")


def _failures(body: bytes) -> list[int]:
    payload = _json(body)
    payload = payload[0] if isinstance(payload, list) and payload else payload
    try:
        items = payload[_FAILED_SOP_SEQUENCE]["Value"] if isinstance(payload, dict) else []
        return [int(item.get(_FAILURE_REASON, {}).get("Value", [0x0110])[0]) for item in items]
    except (KeyError, LookupError, TypeError, ValueError, AttributeError):
        return []


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None
