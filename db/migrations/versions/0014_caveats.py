"""Caveats of analyses, and those that the worklist shows of a study.

Revision ID: 0014
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = ("analyses", "studies")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("caveats", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "caveats")
