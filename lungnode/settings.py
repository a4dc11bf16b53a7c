"""Settings, read once at the entry point.

From ``LUNGNODE_*`` variables, files of those names in the folder ``LUNGNODE_SECRETS``, or the TOML file of
``LUNGNODE_CONFIG``; the first that has a setting counts.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

AE_TITLE_PATTERN = r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?$"
"""1 to 16 printable characters without backslash, no leading or trailing space (PS3.5 6.2, VR AE)."""


def is_loopback(host: str) -> bool:
    """Whether binding to ``host`` is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Section(BaseModel):
    """A frozen group of settings; unknown names are refused so that a typing error is not silently a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


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


class WebSettings(Section):
    """Pages and API."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback until someone decides otherwise."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on."""
    auth: Literal["on", "off"] | None = None
    """`on` asks for a sign-in or token; `off` only on loopback. Unset: `off` on loopback without a proxy, else `on`."""
    public_url: str | None = Field(default=None, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?$")
    """Address by which browsers reach the pages through a proxy; with `https` cookies are Secure and HSTS is sent."""
    oidc_issuer: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """Issuer of an OpenID Connect provider to sign in at; redirect URI `<PUBLIC_URL>/sign-in/provider/callback`."""
    oidc_client_id: str = ""
    """Our client id there."""
    oidc_client_secret: SecretStr | None = None
    """Our client secret there."""
    oidc_role_claim: str = "groups"
    """Claim of the identity token that roles are taken from."""
    oidc_roles: dict[str, Literal["admin", "radiologist", "auditor", "service"]] = {}
    """Roles by value of that claim, a JSON object; the first that somebody has counts, nobody enters without one."""
    max_upload_mb: int = Field(default=256, ge=1)
    """Largest request body, in MiB; a zip of a thin-slice chest CT has about 200."""
    cors_origins: tuple[str, ...] = ()
    """Origins that may read `/predict` and `/model_status` from a browser, as a JSON list; none by default."""
    max_wait_min: int = Field(default=240, ge=1)
    """Minutes that a study may wait for a reader before it comes first in the worklist's order by priority."""
    threads: int = Field(default=8, ge=2)
    """Threads that answer requests."""


class DatabaseSettings(Section):
    """Where records are kept."""

    url: SecretStr | None = None
    """SQLAlchemy URL (`postgresql+psycopg://...`); unset means SQLite in HOME."""
    audit_key_file: Path | None = None
    """File of the audit trail's key, the same on every host that shares the database; unset: `audit.key` in HOME."""


class StoreSettings(Section):
    """Where stored instances and result objects are kept."""

    url: str = Field(default="", pattern=r"^(s3://[^\s/]+(/\S*)?)?$")
    """S3-compatible store that all hosts share (`s3://bucket/prefix`, extra `s3`); unset: a folder of HOME."""
    endpoint_url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Where that store is asked, unless it is Amazon's."""
    key: str = ""
    """Its access key; unset: what the host has (`AWS_ACCESS_KEY_ID`, a role)."""
    secret: SecretStr = SecretStr("")
    """Its secret key."""
    cache_mb: int = Field(default=20480, ge=64)
    """Size of this host's cache of it, in MiB; beyond, what was used least recently goes."""


class ModelSettings(Section):
    """Which models answer, and where they run."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a CUDA device where there is one, of several the one with the most free memory."""
    engine: Literal[
        "auto",
        "openvino-int8",
        "openvino-bfloat16",
        "openvino-float32",
        "torch-compiled",
        "torch-bfloat16",
        "torch-float32",
    ] = "auto"
    """What runs the networks; `auto` takes the fastest one installed that the bundle's record lets answer."""
    opinion: Literal["ensemble", "planar", "volumetric"] = "ensemble"
    """Which nodule networks answer: all together, the 2D one, or the 3D ones; the others' word is recorded beside."""
    bundle: Path | None = None
    """Folder of a model bundle, or of bundles named `nodule`, `filter`, `slice`; unset means the shipped ones."""
    shadow_bundle: Path | None = None
    """Folder of a second nodule bundle, tried unseen on series that the live one answered (docs/adr/0021)."""


class WorkerSettings(Section):
    """The analysis workers."""

    concurrency: int = Field(default=1, ge=1)
    """Series analysed at once by a worker; one saturates two cores or a GPU. The same for all that share a database."""
    executor_id: str = Field(default="worker-1", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Fixed name of this worker, unlike all others'; interrupted work returns to it where it comes back in time."""
    silent_s: float = Field(default=60.0, ge=15)
    """Seconds without a sign of life after which another worker takes up what this one left."""
    queue_version: str = Field(default="analysis-1", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Workers of the same one share work, whatever their release; set another to keep a group of workers apart."""
    timeout_s: float = Field(default=900.0, gt=0)
    """Wall-clock limit of decoding and analysing one series; past it the attempt counts as failed."""
    memory_mb: int = Field(default=6144, ge=512)
    """Address-space limit, in MiB, of the child process that decodes datasets of strangers. Compressed slices are
    decoded side by side, in as many processes as it may use cores, while each has 768 MiB of the limit."""


class RetentionSettings(Section):
    """How long studies stay."""

    days: int = Field(default=0, ge=0)
    """Days after which a study goes that owes no analysis, delivery or dead letter; 0: never. The trail stays."""


class AlertSettings(Section):
    """What is told to whom when something is wrong."""

    webhooks: tuple[SecretStr, ...] = ()
    """URLs that are sent a JSON object when an alert begins, again each day, and when it ends; as a JSON list."""
    no_study_h: float = Field(default=0.0, ge=0)
    """Hours without a new study that are an alert; 0: never."""
    queue_age_m: float = Field(default=60.0, ge=0)
    """Minutes that the oldest unfinished analysis may wait before that is an alert; 0: never."""
    dead_letters: bool = True
    """Whether results that could not be delivered, or were never committed, are an alert."""
    drift: bool = True
    """Whether drift is an alert: of a scanner's series or answers, of overrides, of calibration (`/monitoring`)."""
    hold_drifted: bool = False
    """Whether such a scanner is held by itself: analysed, not shown to readers, not sent (`lungnode scanner list`)."""


class LogSettings(Section):
    """Logs: events with fields, never an identity."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written."""
    format: Literal["json", "console"] = "json"
    """One JSON object a line, or aligned text for people."""


class Settings(BaseSettings):
    """All settings; frozen, read once and passed down in pieces."""

    model_config = SettingsConfigDict(
        env_prefix="LUNGNODE_", env_nested_delimiter="__", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    home: Path = Path("var/lungnode")
    """State folder: stored instances, SQLite, keys. Created with mode 0700."""
    dicom: DicomSettings = DicomSettings()
    web: WebSettings = WebSettings()
    database: DatabaseSettings = DatabaseSettings()
    store: StoreSettings = StoreSettings()
    model: ModelSettings = ModelSettings()
    worker: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment variables win over secrets' files, those over the TOML file; no dotenv file is read."""
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if folder := os.environ.get("LUNGNODE_SECRETS"):
            sources.append(NestedSecretsSettingsSource(file_secret_settings, folder, "error"))
        if config := os.environ.get("LUNGNODE_CONFIG"):
            sources.append(TomlConfigSettingsSource(settings_cls, Path(config)))
        return tuple(sources)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @model_validator(mode="after")
    def _locked_off_loopback(self) -> Settings:
        if self.web.auth == "off" and not is_loopback(self.web.host):
            raise ValueError("LUNGNODE_WEB__AUTH=off is refused unless LUNGNODE_WEB__HOST is a loopback address")
        if self.web.auth == "off" and self.web.public_url is not None:
            raise ValueError("LUNGNODE_WEB__AUTH=off is refused where LUNGNODE_WEB__PUBLIC_URL is set")
        web = self.web
        if web.oidc_issuer is not None and not (web.oidc_client_id and web.oidc_client_secret and web.oidc_roles):
            raise ValueError(
                "LUNGNODE_WEB__OIDC_ISSUER needs LUNGNODE_WEB__OIDC_CLIENT_ID, LUNGNODE_WEB__OIDC_CLIENT_SECRET and "
                "LUNGNODE_WEB__OIDC_ROLES beside it"
            )
        if not self.dicom.peers and not is_loopback(self.dicom.host):
            raise ValueError("LUNGNODE_DICOM__PEERS must name the senders: LUNGNODE_DICOM__HOST is not loopback")
        return self

    @property
    def web_auth_required(self) -> bool:
        """Whether clinical pages ask who is there."""
        is_reached_from_elsewhere = self.web.public_url is not None or not is_loopback(self.web.host)
        return self.web.auth == "on" or (self.web.auth is None and is_reached_from_elsewhere)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL, SQLite in HOME by default."""
        if self.database.url is not None:
            return self.database.url.get_secret_value()
        return f"sqlite:///{self.home / 'lungnode.db'}"

    @property
    def store_root(self) -> Path:
        """Folder of stored instances and result objects, or of what is here of them."""
        return self.home / ("cache" if self.store.url else "store")

    @property
    def audit_key_path(self) -> Path:
        """File of the audit chain's key, kept outside the database."""
        return self.database.audit_key_file or self.home / "audit.key"
