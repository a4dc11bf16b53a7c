"""Refusals that a radiologist overruled for an analysis.

Revision ID: 0013
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("analyses", sa.Column("overruled", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("analyses", "overruled")
