"""Settings, read once at the entry point.

From ``LUNGNODE_*`` variables, files of those names in the folder ``LUNGNODE_SECRETS``, or the TOML file of
``LUNGNODE_CONFIG``; the first that has a setting counts.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

from pydantic import field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from lungnode.settings.analysis import ModelSettings, WorkerSettings
from lungnode.settings.dicom import DicomSettings
from lungnode.settings.notices import AlertSettings, LogSettings
from lungnode.settings.records import DatabaseSettings, RetentionSettings, StoreSettings
from lungnode.settings.web import WebSettings


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """All settings of the service, frozen."""

    model_config = SettingsConfigDict(
        env_prefix="LUNGNODE_", env_nested_delimiter="__", frozen=True, extra="forbid", use_attribute_docstrings=True
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
        """Return the sources by precedence: environment, secrets folder, TOML file."""
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
                "LUNGNODE_WEB__OIDC_ROLES"
            )
        if not self.dicom.peers and not is_loopback(self.dicom.host):
            raise ValueError("LUNGNODE_DICOM__PEERS must list the senders: LUNGNODE_DICOM__HOST is not loopback")
        return self

    @property
    def web_auth_required(self) -> bool:
        """Return True if clinical pages require sign-in."""
        is_reached_from_elsewhere = self.web.public_url is not None or not is_loopback(self.web.host)
        return self.web.auth == "on" or (self.web.auth is None and is_reached_from_elsewhere)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL, SQLite in HOME by default."""
        if self.database.url is not None:
            return self.database.url.get_secret_value()
        return f"sqlite:///{self.home / 'lungnode.db'}"

    @property
    def network_cache(self) -> Path:
        """Folder of converted networks."""
        return self.model.cache or self.home / "cache" / "networks"

    @property
    def store_root(self) -> Path:
        """Folder of stored instances and result objects, or of their local cache."""
        return self.home / ("cache" if self.store.url else "store")

    @property
    def audit_key_path(self) -> Path:
        """File of the audit chain's key, kept outside the database."""
        return self.database.audit_key_file or self.home / "audit.key"
