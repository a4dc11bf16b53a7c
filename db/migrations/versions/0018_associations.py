"""Associations and refusals by peer.

Revision ID: 0018
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0014"
branch_labels = None
depends_on = None

KEY = ("peer_address", "calling_ae_title", "called_ae_title", "result", "reason")


def upgrade() -> None:
    op.create_table(
        "associations",
        sa.Column("id", sa.String(length=32), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in KEY),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_associations"),
        sa.UniqueConstraint(*KEY, name="uq_associations"),
    )
    op.create_index("ix_associations_last_at", "associations", ["last_at"])


def downgrade() -> None:
    op.drop_index("ix_associations_last_at", "associations")
    op.drop_table("associations")
