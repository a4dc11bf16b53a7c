"""What is shown of probabilities; intervals that rest on no calibration cases go.

Revision ID: 0016
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("studies", sa.Column("displayed", sa.Text(), nullable=True))
    op.add_column("predictions", sa.Column("displayed", sa.JSON(), nullable=True))
    op.execute("UPDATE findings SET interval_low = NULL, interval_high = NULL")
    op.execute("UPDATE studies SET interval_low = NULL, interval_high = NULL")


def downgrade() -> None:
    op.drop_column("predictions", "displayed")
    op.drop_column("studies", "displayed")
