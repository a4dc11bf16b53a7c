"""Alembic environment: runs on the connection, and in the transaction, of ``db.engine.schema``."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.types import TypeDecorator

from db.engine.schema import is_described
from db.tables.all import METADATA

connection: Connection = context.config.attributes["connection"]


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Render plain column types into new revisions, which must not change with ours."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


context.configure(
    connection=connection,
    target_metadata=METADATA,
    compare_type=True,
    include_object=is_described,
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=render_item,
    transactional_ddl=True,
)
context.run_migrations()
