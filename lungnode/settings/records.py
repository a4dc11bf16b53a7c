"""The settings of what is kept: records, stored instances, and for how long."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from lungnode.settings.section import Section


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


class RetentionSettings(Section):
    """How long studies stay."""

    days: int = Field(default=0, ge=0)
    """Days after which a study goes that owes no analysis, delivery or dead letter; 0: never. The trail stays."""
