"""Settings of the DICOM listener, TLS, peers and destinations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from lungnode.settings.section import Section

AE_TITLE_PATTERN = r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$"
"""1 to 16 printable characters without backslash, no leading or trailing space (PS3.5 6.2, VR AE)."""


class Peer(Section):
    """A PACS or modality that may talk to the listener."""

    ae_title: str = Field(pattern=AE_TITLE_PATTERN)
    """Calling AE title."""
    host: str = "127.0.0.1"
    """Address of its associations, and to which ours are opened."""
    port: int = Field(default=104, ge=1, le=65535)
    """Port that it listens on."""
    may_store: bool = True
    """True if it may send instances for analysis."""
    query_ae_title: str = Field(default="", pattern=AE_TITLE_PATTERN.replace("^", "^(").replace("$", ")?$"))
    """Called AE title for C-FIND and C-MOVE, if different from the one it stores with."""
    tls: bool = False
    """True if associations to it use TLS."""
    tls_name: str = ""
    """Name in its certificate when it is called, if different from `host`."""
    certificate_sha256: tuple[str, ...] = ()
    """SHA-256 fingerprints of its client certificates (several during a replacement); empty: any."""
    certificate_names: tuple[str, ...] = ()
    """`DNS:`, `URI:` or `CN:` and a name, one of which its client certificate must contain; empty: any."""
    may_query: bool = False
    """True if it may query and retrieve instances and results."""
    priors: int = Field(default=0, ge=0, le=20)
    """Number of prior chest CTs retrieved from it for each received study; 0: none."""
    priors_hours: tuple[int, int] | None = None
    """First and last hour of the day for retrieving priors, for example `[22, 6]`; unset: at any time."""

    @property
    def is_bound(self) -> bool:
        """Return True if it is identified by its certificate."""
        return bool(self.certificate_sha256 or self.certificate_names)

    @field_validator("certificate_sha256")
    @classmethod
    def _fingerprints(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        """Normalise fingerprints; OpenSSL's colons and upper case are accepted."""
        plain = tuple(text.replace(":", "").lower() for text in given)
        if not all(re.fullmatch(r"[0-9a-f]{64}", text) for text in plain):
            raise ValueError("a SHA-256 fingerprint has 64 hexadecimal digits")
        return plain

    @field_validator("certificate_names")
    @classmethod
    def _names(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not all(re.fullmatch(r"(DNS|URI|CN):\S(.*\S)?", text) for text in given):
            raise ValueError("a name of a certificate begins with `DNS:`, `URI:` or `CN:`")
        return tuple(text.lower().replace("dns:", "DNS:", 1) if text.startswith("DNS:") else text for text in given)


class Destination(Section):
    """A node that gets results: by C-STORE at host and port, or by STOW-RS at a URL."""

    ae_title: str = Field(pattern=AE_TITLE_PATTERN)
    """Called AE title; for a URL, the name shown on the worklist."""
    host: str = ""
    """Its address."""
    port: int = Field(default=0, ge=0, le=65535)
    """Its port."""
    storage_commitment: bool = False
    """True if storage commitment is requested (N-ACTION, PS3.4 J; C-FIND or QIDO-RS without a report)."""
    tls: bool = False
    """True if associations to it use TLS."""
    tls_name: str = ""
    """Name in its certificate, if different from `host`."""
    url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Base of its DICOMweb service, instead of host and port."""
    authorization: SecretStr = SecretStr("")
    """Authorization header for that URL."""
    ca_file: Path | None = None
    """Certificates that the URL's TLS certificate is checked against; the system's by default."""

    @model_validator(mode="after")
    def _has_an_address(self) -> Destination:
        if bool(self.url) == bool(self.host and self.port):
            raise ValueError("a destination has either host and port, or a url")
        return self


class TlsSettings(Section):
    """TLS of associations (PS3.15 B.12, BCP 195): version 1.2 or later, certificates on both sides."""

    certificate: Path | None = None
    """PEM file of this node's certificate; set, the listener speaks TLS and nothing else."""
    key: Path | None = None
    """PEM file of its key, without a passphrase; keep it readable for the service alone."""
    authority: Path | None = None
    """PEM file of the CAs of peers' certificates."""
    revocations: Path | None = None
    """PEM file of the CAs' revocation lists; an expired list rejects every peer. Unset: not checked."""
    require_certificate: bool = True
    """True if callers must present a certificate; `false` encrypts without authenticating them."""

    @model_validator(mode="after")
    def _complete(self) -> TlsSettings:
        given = [path is not None for path in (self.certificate, self.key, self.authority)]
        if any(given) and not all(given):
            raise ValueError("certificate, key and authority must be set together")
        return self


class DicomSettings(Section):
    """The DICOM listener and what it sends."""

    host: str = "127.0.0.1"
    """Address to listen on; default: loopback only."""
    port: int = Field(default=11112, ge=0, le=65535)
    """Port to listen on; 11112 is the registered unprivileged DICOM port."""
    ae_title: str = Field(default="LUNGNODE", pattern=AE_TITLE_PATTERN)
    """Our AE title; an association that calls another one is rejected."""
    quiet_s: float = Field(default=10.0, gt=0)
    """A study is analysed after this many seconds without a new instance; longer than a PACS' longest pause."""
    peers: tuple[Peer, ...] = ()
    """Accepted peers, a list of `{ae_title, host, port, may_store, ...}` (docs/pacs.md); empty: any local sender."""
    destinations: tuple[Destination, ...] = ()
    """Destinations for results, a list of `{ae_title, host, port, storage_commitment}` or `{ae_title, url}`."""
    results: tuple[Literal["sr", "sc", "pr", "seg"], ...] = ("sr", "sc", "pr", "seg")
    """Result objects: report (always), summary images, outlines, segmentation."""
    tls: TlsSettings = TlsSettings()
    max_associations: int = Field(default=32, ge=1)
    """Associations served at once; more are answered with a transient rejection."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that share the port and its limits; more than one helps with many concurrent senders."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Seconds of silence after which an association or connection is closed."""
    max_instance_mb: int = Field(default=2048, ge=1)
    """Largest dataset accepted, in MiB; an Enhanced CT of 5000 frames has about 2.5 GiB uncompressed."""
    min_free_mb: int = Field(default=512, ge=0)
    """Free disk space, in MiB, under which instances are refused with 0xA700, before the disk is full."""

    @model_validator(mode="after")
    def _can_call_by_tls(self) -> DicomSettings:
        calls = [peer.tls for peer in self.peers] + [destination.tls for destination in self.destinations]
        if self.tls.certificate is None and any(calls):
            raise ValueError("a peer or destination with `tls` needs LUNGNODE_DICOM__TLS__CERTIFICATE")
        asks = self.tls.certificate is not None and self.tls.require_certificate
        if any(peer.is_bound for peer in self.peers) and not asks:
            raise ValueError("certificates of peers need LUNGNODE_DICOM__TLS with require_certificate")
        return self
