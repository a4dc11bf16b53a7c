"""Verdicts and marks that their readers took back.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("findings", sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("assessments", sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("assessments", "withdrawn_at")
    op.drop_column("findings", "withdrawn_at")
