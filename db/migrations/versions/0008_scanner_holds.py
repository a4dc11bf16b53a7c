"""Scanners that are held, and the status of what is analysed meanwhile.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OLD_WORDS = ("queued", "running", "current", "superseded", "failed")
NEW_WORDS = (*OLD_WORDS, "shadow")


def _use_words(words: tuple[str, ...]) -> None:
    """Hold the status of analyses to other words.

    Other tables refer to this one, so SQLite's is not made anew: its definition is rewritten, as SQLite's own
    documentation has it for changes that rows need not follow (lang_altertable, section 7).
    """
    listed = ", ".join(f"'{word}'" for word in words)
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE analyses DROP CONSTRAINT ck_analyses_status")
        op.execute(f"ALTER TABLE analyses ADD CONSTRAINT ck_analyses_status CHECK (status IN ({listed}))")
        return
    run = op.get_bind().exec_driver_sql
    (statement,) = run("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'analyses'").one()
    head, found, tail = statement.partition("status IN (")
    assert found, "the status of analyses is held by no constraint"
    changed = f"{head}status IN ({listed}){tail.partition(')')[2]}"
    (version,) = run("PRAGMA schema_version").one()
    run("PRAGMA writable_schema = ON")
    run("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'analyses'", (changed,))
    run(f"PRAGMA schema_version = {version + 1}")
    run("PRAGMA writable_schema = OFF")


def upgrade() -> None:
    _use_words(NEW_WORDS)
    op.create_table(
        "scanner_holds",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kernel", sa.Text(), nullable=False),
        sa.Column("slice_spacing", sa.Text(), nullable=False),
        sa.Column("series_count", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("held_by", sa.Text(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("release_reason", sa.Text(), nullable=False),
        sa.Column("released_by", sa.Text(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_scanner_holds"),
    )
    op.create_index(
        "uq_scanner_holds_one_each",
        "scanner_holds",
        ["model", "kernel", "slice_spacing"],
        unique=True,
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("uq_scanner_holds_one_each", "scanner_holds")
    op.drop_table("scanner_holds")
    op.execute("UPDATE analyses SET status = 'superseded' WHERE status = 'shadow'")
    _use_words(OLD_WORDS)
