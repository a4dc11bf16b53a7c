"""Base of all tables. Rows never leave ``db``: repositories return the records of ``db.domain``.

``id`` columns are opaque; patient identity and DICOM UIDs are only in the columns named for them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Float, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase

from db.domain.reasons import Reason
from db.tables.column_types import Names, Reasons, UtcDateTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Uid = String(64)
OpaqueId = String(32)
Sha256 = String(64)
ByteOrdered = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts alike on SQLite and PostgreSQL, whatever the server's locale."""


class Base(DeclarativeBase):
    """Declarative base, with constraint names that migrations can rely on.

    Foreign keys are given as the other class's column, so that no table is loaded without those it references;
    ``db.tables.all`` loads all of them.
    """

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: UtcDateTime(),
        str: Text(),
        float: Float(53),
        dict[str, Any]: JSON(),
        tuple[Reason, ...]: Reasons(),
        tuple[str, ...]: Names(),
    }
