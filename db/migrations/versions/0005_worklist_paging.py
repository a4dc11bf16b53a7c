"""Worklist: reviews, saved filters, and the indexes that page and search 100,000 studies.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UNREAD = "reviewed_at IS NULL"
RATED = "reviewed_at IS NULL AND malignancy_probability IS NOT NULL"
INDEXES = (
    ("ix_studies_study_date_received_at_id", ["study_date", "received_at", "id"], None),
    ("ix_studies_malignancy_probability", ["malignancy_probability"], None),
    ("ix_studies_unread", ["received_at", "id"], UNREAD),
    ("ix_studies_reviewed", ["received_at", "id"], "reviewed_at IS NOT NULL"),
    ("ix_studies_unread_probability", ["malignancy_probability", "received_at", "id"], RATED),
)
SQLITE_SEARCH = (
    "CREATE VIRTUAL TABLE study_search USING fts5"
    "(study_id UNINDEXED, search_text, tokenize = 'trigram case_sensitive 1')",
    "INSERT INTO study_search (study_id, search_text) SELECT id, search_text FROM studies",
    "CREATE TRIGGER study_search_added AFTER INSERT ON studies BEGIN"
    " INSERT INTO study_search (study_id, search_text) VALUES (new.id, new.search_text); END",
    "CREATE TRIGGER study_search_changed AFTER UPDATE OF search_text ON studies BEGIN"
    " UPDATE study_search SET search_text = new.search_text WHERE study_id = new.id; END",
    "CREATE TRIGGER study_search_removed AFTER DELETE ON studies BEGIN"
    " DELETE FROM study_search WHERE study_id = old.id; END",
)
POSTGRES_SEARCH = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE INDEX ix_studies_search_text ON studies USING gin (search_text gin_trgm_ops)",
)


def upgrade() -> None:
    op.add_column("studies", sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("studies", sa.Column("reviewed_by", sa.Text(), nullable=True))
    op.create_table(
        "saved_filters",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("query", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_saved_filters"),
        sa.UniqueConstraint("owner", "name", name="uq_saved_filters_owner_name"),
    )
    for name, columns, condition in INDEXES:
        where = sa.text(condition) if condition else None
        op.create_index(name, "studies", columns, sqlite_where=where, postgresql_where=where)
    # two spaces before each word: db.intake.ingest.search_text
    op.execute("UPDATE studies SET search_text = '  ' || replace(replace(search_text, '\n', ' '), ' ', '  ')")
    for statement in SQLITE_SEARCH if op.get_context().dialect.name == "sqlite" else POSTGRES_SEARCH:
        op.execute(statement)


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for name in ("added", "changed", "removed"):
            op.execute(f"DROP TRIGGER study_search_{name}")
        op.execute("DROP TABLE study_search")
    else:
        op.drop_index("ix_studies_search_text", "studies")  # the extension stays: it may have been here before
    op.execute("UPDATE studies SET search_text = ltrim(replace(search_text, '  ', ' '))")
    for name, _, _ in reversed(INDEXES):
        op.drop_index(name, "studies")
    op.drop_table("saved_filters")
    op.drop_column("studies", "reviewed_by")
    op.drop_column("studies", "reviewed_at")
