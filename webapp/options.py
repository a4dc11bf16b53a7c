"""Options of the web app; no environment is read here."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from db.domain.accounts import Role
from webapp.ports import StatementSection


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """An OpenID Connect identity provider."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    roles: Mapping[str, Role]
    """Roles by value of the claim; the first match applies."""
    role_claim: str = "groups"

    @property
    def role_mapping_digest(self) -> str:
        """Digest of the role mapping; sessions of another mapping end."""
        mapping = [self.issuer, self.client_id, self.role_claim, [[k, v.value] for k, v in self.roles.items()]]
        return hashlib.sha256(json.dumps(mapping).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Node:
    """A peer or destination, for display."""

    ae_title: str
    address: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Options of the web app; all but ``upload_images_root`` have safe defaults."""

    upload_images_root: Path
    """Folder of upload images and attention overlays; created with mode 0700."""
    min_free_bytes: int = 0
    """Free disk space below which this node is not ready and instances are refused."""
    counts_folder: Path | None = None
    """Folder of the DICOM port's counters, or None."""
    conformance: tuple[StatementSection, ...] = ()
    """The conformance statement of this node."""
    version: str = "0"
    """Version of the product, shown in the footer and in ``/openapi.json``."""
    auth_required: bool = True
    """True if sign-in is required; ``False`` only on a loopback bind."""
    bound_to_loopback: bool = True
    """True if the port is bound to loopback; the Host header is then checked against DNS rebinding."""
    allowed_hosts: tuple[str, ...] = ()
    """Permitted host names in addition to loopback ones; empty, and not bound to loopback, means any."""
    public_url: str = ""
    """Scheme and host for browsers; if empty, taken from each request."""
    max_upload_bytes: int = 256 * 2**20
    """Largest request body."""
    max_image_bytes: int = 64 * 2**20
    """Largest PNG, JPEG or single DICOM instance."""
    cors_origins: tuple[str, ...] = ()
    """Origins that may read ``/predict`` and ``/model_status`` from a browser."""
    secret_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)
    """Key of the CSRF tokens; the same for all web processes of a database."""
    threads: int = 8
    """Threads of the server; event streams and predictions use only a share of them."""
    session_idle_s: float = 15 * 60
    """Idle time after which a session ends (NIST SP 800-63B 4.2.3: at most 30 minutes)."""
    session_lifetime_s: float = 12 * 3600
    """Age at which a session ends."""
    secure_cookies: bool = False
    """Set Secure cookies and HSTS (HTTPS only)."""
    predictions_per_minute: int = 600
    """Uploads answered per client and minute; more get 429."""
    sign_ins_per_minute: int = 10
    """Sign-in attempts per client and minute; more get 429."""
    stream_s: float = 55.0
    """Duration of one event stream; the browser then reconnects."""
    max_wait_s: float = 4 * 3600.0
    """Waiting time after which a study comes first in the worklist's order by priority."""
    report_template: str = ""
    """Line of an accepted finding in the reporting text; if empty, that of the page's language."""
    upload_images_limit: int = 2000
    """Number of uploads with stored images; the oldest images are deleted first, predictions stay on record."""

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of proxies whose forwarding header is trusted."""
    forwarded_header: str = "x-forwarded-for"
    """The header that they append to: ``x-forwarded-for`` or ``forwarded``."""
    oidc: OidcProvider | None = None
    """Identity provider, in addition to local users."""
    peers: tuple[Node, ...] = ()
    """Permitted peers; if empty, any local sender is accepted."""
    destinations: tuple[Node, ...] = ()
    """Destinations of results."""

    @property
    def max_streams(self) -> int:
        """Event streams held open at once: a quarter of the threads."""
        return max(1, self.threads // 4)

    @property
    def max_predictions(self) -> int:
        """Predictions computed at once: half of the threads."""
        return max(1, self.threads // 2)
