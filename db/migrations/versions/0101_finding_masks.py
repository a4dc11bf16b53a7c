"""Measured masks of findings.

Revision ID: 0101
"""

import sqlalchemy as sa
from alembic import op

revision = "0101"
down_revision = "0100"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "finding_masks",
        sa.Column("finding_id", sa.String(length=32), nullable=False),
        sa.Column("row_px", sa.Integer(), nullable=False),
        sa.Column("column_px", sa.Integer(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("column_count", sa.Integer(), nullable=False),
        sa.Column("slices", sa.JSON(), nullable=False),
        sa.Column("runs", sa.JSON(), nullable=False),
        sa.Column("axes", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["finding_id"], ["findings.id"], name=op.f("fk_finding_masks_finding_id_findings")),
        sa.PrimaryKeyConstraint("finding_id", name=op.f("pk_finding_masks")),
    )


def downgrade() -> None:
    op.drop_table("finding_masks")
