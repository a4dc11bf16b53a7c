"""Settings of the database, the instance store and retention."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from lungnode.settings.section import Section


class DatabaseSettings(Section):
    """Database connection."""

    url: SecretStr | None = None
    """SQLAlchemy URL (`postgresql+psycopg://...`); unset means SQLite in HOME."""
    audit_key_file: Path | None = None
    """File of the audit trail's key, the same on every host that shares the database; unset: `audit.key` in HOME."""


class StoreSettings(Section):
    """Store of instances and result objects."""

    url: str = Field(default="", pattern=r"^(s3://[^\s/]+(/\S*)?)?$")
    """S3-compatible store that all hosts share (`s3://bucket/prefix`, extra `s3`); unset: a folder of HOME."""
    endpoint_url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Endpoint URL of the S3 API (default: AWS)."""
    key: str = ""
    """S3 access key; unset: credentials of the host (`AWS_ACCESS_KEY_ID`, a role)."""
    secret: SecretStr = SecretStr("")
    """S3 secret key."""
    cache_mb: int = Field(default=20480, ge=64)
    """Size of this host's cache of it in MiB; least recently used files are removed first."""


class RetentionSettings(Section):
    """Retention of studies."""

    days: int = Field(default=0, ge=0)
    """Retention in days; 0: unlimited. Studies with pending work are kept; the audit log is never deleted."""
