"""Choice between the reconstructions of one acquisition.

Revision ID: 0102
"""

import sqlalchemy as sa
from alembic import op

revision = "0102"
down_revision = "0101"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("analyses", sa.Column("reconstruction", sa.JSON(), nullable=True))
    op.add_column("analyses", sa.Column("is_explicit", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("analyses", "is_explicit")
    op.drop_column("analyses", "reconstruction")
