"""The name that the worklist is sorted by, studies of high priority, and assignment.

Revision ID: 0103
"""

import sqlalchemy as sa
from alembic import op

from db.studies.patients import sort_name

revision = "0103"
down_revision = "0102"
branch_labels = None
depends_on = None

BATCH = 1000
SORTED = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("studies", sa.Column("sort_name", SORTED, nullable=False, server_default=""))
    _fill_names()
    op.create_index("ix_studies_sort_name", "studies", ["sort_name", "received_at", "id"])
    op.add_column("studies", sa.Column("assigned_to", sa.Text(), nullable=True))
    op.add_column("studies", sa.Column("is_stat", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_studies_unread_stat",
        "studies",
        ["received_at", "id"],
        sqlite_where=sa.text("reviewed_at IS NULL AND is_stat = 1"),
        postgresql_where=sa.text("reviewed_at IS NULL AND is_stat"),
    )


def downgrade() -> None:
    op.drop_index("ix_studies_unread_stat", "studies")
    op.drop_column("studies", "is_stat")
    op.drop_column("studies", "assigned_to")
    op.drop_index("ix_studies_sort_name", "studies")
    op.drop_column("studies", "sort_name")


def _fill_names() -> None:
    connection = op.get_bind()
    patients = sa.table("patients", sa.column("id"), sa.column("name"))
    studies = sa.table("studies", sa.column("patient_row_id"), sa.column("sort_name"))
    named = sa.update(studies).where(studies.c.patient_row_id == sa.bindparam("patient"))
    statement = named.values(sort_name=sa.bindparam("name"))
    rows = connection.execute(sa.select(patients.c.id, patients.c.name)).all()
    for first in range(0, len(rows), BATCH):
        batch = [{"patient": row_id, "name": sort_name(name)} for row_id, name in rows[first : first + BATCH]]
        connection.execute(statement, batch)
