"""Settings of the web server."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, IPvAnyNetwork, SecretStr

from lungnode.settings.section import Section

_REPORTED = r"\{(number|density|side|third|mean|long|short|volume|image|series|comment)\}"
_REPORT_TEMPLATE = rf"^([^\[\]{{}}]|{_REPORTED}|\[([^\[\]{{}}]|{_REPORTED})*\])*$"
"""Text, names in braces, and clauses in brackets (frontend/src/report/template.ts)."""


class WebSettings(Section):
    """Pages and API."""

    host: str = "127.0.0.1"
    """Address to listen on; default: loopback only."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on."""
    auth: Literal["on", "off"] | None = None
    """`on` requires sign-in or a token; `off` only on loopback. Unset: `off` on loopback without a proxy, else `on`."""
    public_url: str | None = Field(default=None, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?$")
    """Public URL behind a proxy; with `https` cookies are Secure and HSTS is sent."""
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks (CIDR) of reverse proxies, a JSON list; their header names the client (docs/proxy.md)."""
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    """Header that these proxies append the client's address to."""
    oidc_issuer: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """Issuer of an OpenID Connect provider to sign in at; redirect URI `<PUBLIC_URL>/sign-in/provider/callback`."""
    oidc_client_id: str = ""
    """Our client id there."""
    oidc_client_secret: SecretStr | None = None
    """Our client secret there."""
    oidc_role_claim: str = "groups"
    """Claim of the identity token that roles are taken from."""
    oidc_roles: dict[str, Literal["admin", "radiologist", "auditor", "service"]] = Field(default={})
    """Roles by value of that claim, a JSON object; the first match counts, users without a match are refused."""
    max_upload_mb: int = Field(default=256, ge=1)
    """Largest request body, in MiB; a zip of a thin-slice chest CT has about 200."""
    cors_origins: tuple[str, ...] = ()
    """Origins that may read `/predict` and `/model_status` from a browser, as a JSON list; none by default."""
    max_wait_min: int = Field(default=240, ge=1)
    """Minutes that a study may wait for a reader before it comes first in the worklist's order by priority."""
    report_template: str = Field(default="", max_length=500, pattern=_REPORT_TEMPLATE)
    """Line of an accepted finding in the reporting text, such as `{number}: nodule[, {side}], {mean} mm[, {density}]`.

    Names: number, density, side, third, mean, long, short, volume, image, series, comment. A part in brackets is left
    out where one of its values is not known. Empty: our own, in the language of the page.
    """
    threads: int = Field(default=8, ge=2)
    """Threads that answer requests."""
