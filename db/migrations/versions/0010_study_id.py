"""Study ID, and the indexes by which PACS search: it, Accession Number and Patient ID.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_studies_accession_number", "studies", "accession_number"),
    ("ix_studies_local_study_id", "studies", "local_study_id"),
    ("ix_patients_patient_id", "patients", "patient_id"),
)


def upgrade() -> None:
    op.add_column("studies", sa.Column("local_study_id", sa.Text(), nullable=False, server_default=""))
    for name, table, column in INDEXES:
        op.create_index(name, table, [column])


def downgrade() -> None:
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table)
    op.drop_column("studies", "local_study_id")
