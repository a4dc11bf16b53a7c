"""What is watched of the model in use: series by scanner, comparisons, pathology, and who read first.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
OPAQUE = sa.String(length=32)


def upgrade() -> None:
    op.create_index("ix_analyses_finished_at_id", "analyses", ["finished_at", "id"])
    op.create_index("ix_assessments_created_at", "assessments", ["created_at"])
    op.add_column("assessments", sa.Column("is_read_first", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "watched_scanners",
        sa.Column("key", OPAQUE, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kernel", sa.Text(), nullable=False),
        sa.Column("slice_spacing", sa.Text(), nullable=False),
        sa.Column("series_count", sa.Integer(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_watched_scanners"),
    )
    op.create_table(
        "observations",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("analysis_id", OPAQUE, nullable=False),
        sa.Column("series_id", OPAQUE, nullable=False),
        sa.Column("scanner_key", OPAQUE, nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.String(length=64), nullable=False),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.Column("reason_codes", sa.JSON(), nullable=False),
        sa.Column("summary", sa.JSON(), nullable=True),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("finding_count", sa.Integer(), nullable=False),
        sa.Column("doubts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["scanner_key"], ["watched_scanners.key"], name="fk_observations_scanner_key_watched_scanners"
        ),
        sa.PrimaryKeyConstraint("sequence", name="pk_observations"),
        sa.UniqueConstraint("analysis_id", name="uq_observations_analysis_id"),
        sa.UniqueConstraint("series_id", name="uq_observations_series_id"),
        sa.UniqueConstraint("scanner_key", "number", name="uq_observations_scanner_key_number"),
    )
    op.create_index("ix_observations_finished_at", "observations", ["finished_at"])
    op.create_table(
        "drift_checks",
        sa.Column("scanner_key", OPAQUE, nullable=False),
        sa.Column("block", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("checked_at", MOMENT, nullable=False),
        sa.Column("drifted", sa.JSON(), nullable=False),
        sa.Column("indices", sa.JSON(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["scanner_key"], ["watched_scanners.key"], name="fk_drift_checks_scanner_key_watched_scanners"
        ),
        sa.PrimaryKeyConstraint("scanner_key", "block", name="pk_drift_checks"),
    )
    op.create_table(
        "watch_report",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("collected_to", MOMENT, nullable=True),
        sa.Column("reported_at", MOMENT, nullable=True),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.CheckConstraint("id = 1", name="only_one"),
        sa.PrimaryKeyConstraint("id", name="pk_watch_report"),
    )
    op.create_table(
        "pathology",
        sa.Column("id", OPAQUE, nullable=False),
        sa.Column("study_id", OPAQUE, nullable=False),
        sa.Column("finding_id", OPAQUE, nullable=True),
        sa.Column("x_mm", sa.Float(precision=53), nullable=False),
        sa.Column("y_mm", sa.Float(precision=53), nullable=False),
        sa.Column("z_mm", sa.Float(precision=53), nullable=False),
        sa.Column("is_malignant", sa.Boolean(), nullable=False),
        sa.Column("told_on", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("imported_by", sa.Text(), nullable=False),
        sa.Column("imported_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_pathology_study_id_studies"),
        sa.ForeignKeyConstraint(["finding_id"], ["findings.id"], name="fk_pathology_finding_id_findings"),
        sa.PrimaryKeyConstraint("id", name="pk_pathology"),
    )
    for column in ("study_id", "finding_id", "imported_at"):
        op.create_index(f"ix_pathology_{column}", "pathology", [column])


def downgrade() -> None:
    for table in ("pathology", "watch_report", "drift_checks", "observations", "watched_scanners"):
        op.drop_table(table)
    op.drop_column("assessments", "is_read_first")
    op.drop_index("ix_assessments_created_at", "assessments")
    op.drop_index("ix_analyses_finished_at_id", "analyses")
