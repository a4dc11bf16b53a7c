"""Result objects, retractions, commitments that we owe, earlier studies; and deliveries that a node declined.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OLD_WORDS = ("pending", "sent", "committed", "failed")
NEW_WORDS = (*OLD_WORDS, "declined")


def _word(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=16)


def _moment(name: str, *, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text(), nullable=False)


def _integer(name: str) -> sa.Column:
    return sa.Column(name, sa.Integer(), nullable=False)


def _string(name: str, length: int) -> sa.Column:
    return sa.Column(name, sa.String(length=length), nullable=False)


def _use_words(words: tuple[str, ...]) -> None:
    """Hold the status of deliveries to other words; SQLite makes the table anew for that."""
    listed = ", ".join(f"'{word}'" for word in words)
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE deliveries DROP CONSTRAINT ck_deliveries_status")
        op.execute(f"ALTER TABLE deliveries ADD CONSTRAINT ck_deliveries_status CHECK (status IN ({listed}))")
        return
    (statement,) = op.get_bind().exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'deliveries'").one()
    head, found, tail = statement.partition("status IN (")
    assert found, "the status of deliveries is held by no constraint"
    _, _, rest = tail.partition(")")
    op.execute("ALTER TABLE deliveries RENAME TO deliveries_before")
    for name in ("ix_deliveries_analysis_id", "ix_deliveries_status_next_attempt_at"):
        op.execute(f"DROP INDEX {name}")
    op.get_bind().exec_driver_sql(f"{head}status IN ({listed}){rest}")
    op.execute("INSERT INTO deliveries SELECT * FROM deliveries_before")
    op.execute("DROP TABLE deliveries_before")
    op.create_index("ix_deliveries_analysis_id", "deliveries", ["analysis_id"])
    op.create_index("ix_deliveries_status_next_attempt_at", "deliveries", ["status", "next_attempt_at"])


def upgrade() -> None:
    _use_words(NEW_WORDS)
    op.create_table(
        "results",
        _string("id", 32),
        _string("analysis_id", 32),
        _string("study_id", 32),
        _string("sop_instance_uid", 64),
        _string("sop_class_uid", 64),
        _string("series_instance_uid", 64),
        _integer("series_number"),
        _text("modality"),
        _integer("instance_number"),
        _text("kind"),
        _text("path"),
        _moment("created_at"),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name="fk_results_analysis_id_analyses"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_results_study_id_studies"),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
        sa.UniqueConstraint("sop_instance_uid", name="uq_results_sop_instance_uid"),
    )
    op.create_index("ix_results_analysis_id", "results", ["analysis_id"])
    op.create_index("ix_results_study_id", "results", ["study_id"])
    op.create_table(
        "retractions",
        _string("analysis_id", 32),
        sa.Column("code", _word("code", "113001", "113037"), nullable=False),
        _text("reason"),
        _text("requested_by"),
        _moment("requested_at"),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name="fk_retractions_analysis_id_analyses"),
        sa.PrimaryKeyConstraint("analysis_id", name="pk_retractions"),
    )
    op.create_table(
        "commitments",
        _string("id", 32),
        _text("ae_title"),
        _string("transaction_uid", 64),
        _text("peer_address"),
        sa.Column("wanted", sa.JSON(), nullable=False),
        sa.Column("status", _word("status", "pending", "reported", "failed"), nullable=False),
        _integer("attempts"),
        _text("reason"),
        _moment("next_attempt_at", nullable=True),
        _moment("created_at"),
        _moment("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_commitments"),
        sa.UniqueConstraint("ae_title", "transaction_uid", name="uq_commitments_ae_title_transaction_uid"),
    )
    op.create_index("ix_commitments_status_next_attempt_at", "commitments", ["status", "next_attempt_at"])
    progress = ("pending", "done", "incomplete", "failed")
    op.create_table(
        "prior_searches",
        _string("study_id", 32),
        _string("pacs", 16),
        sa.Column("status", _word("status", *progress), nullable=False),
        _integer("attempts"),
        _text("reason"),
        _moment("next_attempt_at", nullable=True),
        _moment("created_at"),
        _moment("updated_at"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_prior_searches_study_id_studies"),
        sa.PrimaryKeyConstraint("study_id", "pacs", name="pk_prior_searches"),
    )
    op.create_table(
        "prior_studies",
        _string("id", 32),
        _string("study_id", 32),
        _text("pacs"),
        _string("study_instance_uid", 64),
        sa.Column("status", _word("status", *progress), nullable=False),
        _integer("expected_count"),
        _integer("received_count"),
        _integer("attempts"),
        _text("reason"),
        _moment("next_attempt_at", nullable=True),
        _moment("created_at"),
        _moment("updated_at"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_prior_studies_study_id_studies"),
        sa.PrimaryKeyConstraint("id", name="pk_prior_studies"),
        sa.UniqueConstraint("study_instance_uid", name="uq_prior_studies_study_instance_uid"),
    )
    op.create_index("ix_prior_studies_study_id", "prior_studies", ["study_id"])


def downgrade() -> None:
    for name in ("prior_studies", "prior_searches", "commitments", "retractions", "results"):
        op.drop_table(name)
    op.execute("UPDATE deliveries SET status = 'failed' WHERE status = 'declined'")
    _use_words(OLD_WORDS)
