"""The settings of DICOM: the listener, its TLS, who may call, who gets results."""

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
    """Address that it calls from, and that it is called back on."""
    port: int = Field(default=104, ge=1, le=65535)
    """Port that it listens on."""
    may_store: bool = True
    """Whether it may send instances for analysis."""
    query_ae_title: str = Field(default="", pattern=AE_TITLE_PATTERN.replace("^", "^(").replace("$", ")?$"))
    """AE title that it is asked by (C-FIND, C-MOVE), where that is another than the one it stores with."""
    tls: bool = False
    """Whether it is called by TLS."""
    tls_name: str = ""
    """Name that its certificate must bear when it is called, where that is not `host`."""
    certificate_sha256: tuple[str, ...] = ()
    """SHA-256 fingerprints of the certificates that it may call with, several while one is replaced; empty: any."""
    certificate_names: tuple[str, ...] = ()
    """`DNS:`, `URI:` or `CN:` and a name, of which the certificate that it calls with must bear one; empty: any."""
    may_query: bool = False
    """Whether it may search and fetch what is here, results included."""
    priors: int = Field(default=0, ge=0, le=20)
    """How many earlier chest CT of a patient are fetched from it for each study that arrives; 0: none."""
    priors_hours: tuple[int, int] | None = None
    """First and last hour of the day in which they are fetched, for instance `[22, 6]`; unset: at any time."""

    @property
    def is_bound(self) -> bool:
        """Whether it is known by its certificate."""
        return bool(self.certificate_sha256 or self.certificate_names)

    @field_validator("certificate_sha256")
    @classmethod
    def _fingerprints(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        """Take them as OpenSSL prints them, with colons and in upper case, too."""
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
    """Called AE title; of a URL the name that the worklist shows."""
    host: str = ""
    """Its address."""
    port: int = Field(default=0, ge=0, le=65535)
    """Its port."""
    storage_commitment: bool = False
    """Whether it is asked to commit what it was sent (N-ACTION, PS3.4 J; C-FIND or QIDO-RS where no answer comes)."""
    tls: bool = False
    """Whether it is called by TLS."""
    tls_name: str = ""
    """Name that its certificate must bear, where that is not `host`."""
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
    """PEM file of the authorities that peers' certificates must come from."""
    revocations: Path | None = None
    """PEM file of the authorities' revocation lists; a list that has ended lets nobody in. Unset: none is checked."""
    require_certificate: bool = True
    """Whether who calls the listener must show a certificate; `false` encrypts without saying who is there."""

    @model_validator(mode="after")
    def _complete(self) -> TlsSettings:
        given = [path is not None for path in (self.certificate, self.key, self.authority)]
        if any(given) and not all(given):
            raise ValueError("certificate, key and authority belong together")
        return self


class DicomSettings(Section):
    """The DICOM listener and what it sends."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback until someone decides otherwise."""
    port: int = Field(default=11112, ge=0, le=65535)
    """Port to listen on; 11112 is the registered unprivileged DICOM port."""
    ae_title: str = Field(default="LUNGNODE", pattern=AE_TITLE_PATTERN)
    """Our AE title; an association that calls another one is rejected."""
    quiet_s: float = Field(default=10.0, gt=0)
    """A series is complete after this many seconds without a new instance; longer than a PACS' longest pause."""
    peers: tuple[Peer, ...] = ()
    """Who may associate, a list of `{ae_title, host, port, may_store, ...}` (docs/pacs.md); empty: all of loopback."""
    destinations: tuple[Destination, ...] = ()
    """Who gets results, a list of `{ae_title, host, port, storage_commitment}` or `{ae_title, url}`; empty: nobody."""
    results: tuple[Literal["sr", "sc", "pr", "pm"], ...] = ("sr", "sc", "pr")
    """Result objects to make: report (always), summary images, outlines on the slices, map of the attention (`pm`)."""
    tls: TlsSettings = TlsSettings()
    max_associations: int = Field(default=32, ge=1)
    """Associations served at once; more are answered with a transient rejection."""
    processes: int = Field(default=1, ge=1, le=64)
    """Processes that listen at the port and share its limits; more than one pays where many senders come at once."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Silence on an association (or before one) after which it is closed."""
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
            raise ValueError("a peer is known by its certificate only where the listener's TLS asks for one")
        return self
