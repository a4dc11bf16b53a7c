"""Which nodule model answers: promotions, and what they are taken back to.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

KIND = sa.Enum("promoted", "rolled_back", name="kind", native_enum=False, create_constraint=True, length=16)


def upgrade() -> None:
    op.create_table(
        "promotions",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", KIND, nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("bundle_sha256", sa.String(length=64), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("back_to", sa.Integer(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("is_forced", sa.Boolean(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_promotions"),
    )


def downgrade() -> None:
    op.drop_table("promotions")
