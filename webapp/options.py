"""What the web is told when it is made; frozen, no environment is read here."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from db.domain.records import Role
from webapp.ports import StatementSection


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """The organisation's identity provider (OpenID Connect)."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    roles: Mapping[str, Role]
    """Roles by the value of the claim; the first that somebody has counts."""
    role_claim: str = "groups"

    @property
    def role_mapping_digest(self) -> str:
        """Digest of the settings by which claims become roles; sessions of another mapping have ended."""
        mapping = [self.issuer, self.client_id, self.role_claim, [[k, v.value] for k, v in self.roles.items()]]
        return hashlib.sha256(json.dumps(mapping).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Node:
    """A peer or a destination, as administrators see it."""

    ae_title: str
    address: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """How the web behaves; everything has a safe default except where pictures are kept."""

    upload_images_root: Path
    """Folder of the pictures and attention overlays of uploads; made with mode 0700."""
    min_free_bytes: int = 0
    """Free disk space under which this node is not ready: instances are refused then."""
    counts_folder: Path | None = None
    """Where the DICOM port writes its counters; None where there is none to show."""
    conformance: tuple[StatementSection, ...] = ()
    """The conformance statement of this node."""
    version: str = "0"
    """Version of the product, shown in the footer and in ``/openapi.json``."""
    auth_required: bool = True
    """Whether clinical pages ask who is there; ``False`` only on a loopback bind."""
    bound_to_loopback: bool = True
    """Whether only this machine can reach the port; the Host header is then checked against rebinding."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names besides loopback ones that the Host header may carry; not loopback and empty means any."""
    public_url: str = ""
    """Scheme and host by which browsers reach the pages; empty takes them from each request."""
    max_upload_bytes: int = 256 * 2**20
    """Largest request body."""
    max_image_bytes: int = 64 * 2**20
    """Largest PNG, JPEG or single DICOM instance."""
    cors_origins: tuple[str, ...] = ()
    """Origins that may read ``/predict`` and ``/model_status`` from a browser."""
    secret_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Key of the form tokens; the same for all webs that share a database."""
    threads: int = 8
    """Threads of the server; event streams and predictions take only a share of them."""
    session_idle_s: float = 15 * 60
    """Silence after which a session ends (NIST SP 800-63B 4.2.3 asks for no more than 30 minutes)."""
    session_lifetime_s: float = 12 * 3600
    """Age at which a session ends however busy it was."""
    secure_cookies: bool = False
    """Whether the browser reaches us by HTTPS only: Secure cookies and HSTS."""
    predictions_per_minute: int = 600
    """Uploads answered per client and minute; more get 429."""
    sign_ins_per_minute: int = 10
    """Sign-in attempts per client and minute; more get 429."""
    stream_s: float = 55.0
    """Life of one event stream; the browser then reconnects by itself."""
    max_wait_s: float = 4 * 3600.0
    """Wait for a reader after which a study comes first in the worklist's order by priority."""
    upload_images_limit: int = 2000
    """Uploads whose pictures are kept; the oldest pictures go first, the record of the prediction stays."""

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks whose forwarding header says who the client is."""
    forwarded_header: str = "x-forwarded-for"
    """The header that these append to: ``x-forwarded-for`` or ``forwarded``."""
    oidc: OidcProvider | None = None
    """Where people of the organisation sign in, besides those kept here."""
    peers: tuple[Node, ...] = ()
    """Who may associate; none where anyone on this machine may."""
    destinations: tuple[Node, ...] = ()
    """Who gets results."""

    @property
    def max_streams(self) -> int:
        """Event streams held open at once: a quarter of the threads."""
        return max(1, self.threads // 4)

    @property
    def max_predictions(self) -> int:
        """Predictions computed at once: half of the threads."""
        return max(1, self.threads // 2)
