"""Triggers that keep the audit trail append-only, and its head.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQLITE = {
    "audit_events_no_update": """
        BEFORE UPDATE ON audit_events
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END""",
    "audit_events_no_delete": """
        BEFORE DELETE ON audit_events
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END""",
    "audit_events_in_order": """
        BEFORE INSERT ON audit_events
        WHEN NEW.sequence IS NOT (SELECT COALESCE(MAX(sequence), 0) + 1 FROM audit_events)
        BEGIN SELECT RAISE(ABORT, 'the audit trail has no gaps'); END""",
    "audit_head_no_insert": """
        BEFORE INSERT ON audit_head
        WHEN EXISTS (SELECT 1 FROM audit_head)
        BEGIN SELECT RAISE(ABORT, 'the audit trail has one head'); END""",
    "audit_head_no_delete": """
        BEFORE DELETE ON audit_head
        BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END""",
    "audit_head_forward": """
        BEFORE UPDATE ON audit_head
        WHEN NEW.id IS NOT OLD.id OR NEW.sequence <= OLD.sequence
            OR NEW.sequence IS NOT (SELECT MAX(sequence) FROM audit_events)
            OR NEW.mac IS NOT (SELECT mac FROM audit_events WHERE sequence = NEW.sequence)
        BEGIN SELECT RAISE(ABORT, 'the head of the audit trail only moves to its last event'); END""",
}

POSTGRES_FUNCTIONS = {
    "audit_refuse": """
        RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'integrity_constraint_violation';""",
    "audit_in_order": """
        IF NEW.sequence IS DISTINCT FROM (SELECT COALESCE(MAX(sequence), 0) + 1 FROM audit_events) THEN
            RAISE EXCEPTION 'the audit trail has no gaps' USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;""",
    "audit_head_forward": """
        IF NEW.id IS DISTINCT FROM OLD.id OR NEW.sequence <= OLD.sequence
            OR NEW.sequence IS DISTINCT FROM (SELECT MAX(sequence) FROM audit_events)
            OR NEW.mac IS DISTINCT FROM (SELECT mac FROM audit_events WHERE sequence = NEW.sequence) THEN
            RAISE EXCEPTION 'the head of the audit trail only moves to its last event'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;""",
}
POSTGRES_TRIGGERS = (
    ("audit_events", "audit_events_no_update", "BEFORE UPDATE", "STATEMENT", "audit_refuse"),
    ("audit_events", "audit_events_no_delete", "BEFORE DELETE", "STATEMENT", "audit_refuse"),
    ("audit_events", "audit_events_no_truncate", "BEFORE TRUNCATE", "STATEMENT", "audit_refuse"),
    ("audit_events", "audit_events_in_order", "BEFORE INSERT", "ROW", "audit_in_order"),
    ("audit_head", "audit_head_no_insert", "BEFORE INSERT", "STATEMENT", "audit_refuse"),
    ("audit_head", "audit_head_no_delete", "BEFORE DELETE", "STATEMENT", "audit_refuse"),
    ("audit_head", "audit_head_no_truncate", "BEFORE TRUNCATE", "STATEMENT", "audit_refuse"),
    ("audit_head", "audit_head_forward", "BEFORE UPDATE", "ROW", "audit_head_forward"),
)


def upgrade() -> None:
    op.execute("INSERT INTO audit_head (id, sequence, mac, head_mac) VALUES (1, 0, '', '')")
    if op.get_context().dialect.name == "sqlite":
        for name, body in SQLITE.items():
            op.execute(f"CREATE TRIGGER {name} {body}")
        return
    for name, body in POSTGRES_FUNCTIONS.items():
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT"
            f" AS $$ BEGIN {body} END $$"
        )
    for table, name, moment, each, function in POSTGRES_TRIGGERS:
        op.execute(f"CREATE TRIGGER {name} {moment} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()")
        # ALWAYS: also where session_replication_role would leave ordinary triggers out
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for name in SQLITE:
            op.execute(f"DROP TRIGGER {name}")
    else:
        for table, name, *_ in POSTGRES_TRIGGERS:
            op.execute(f"DROP TRIGGER {name} ON {table}")
        for name in POSTGRES_FUNCTIONS:
            op.execute(f"DROP FUNCTION {name}()")
    op.execute("DELETE FROM audit_head")
