"""Tables, audit triggers and text search of the first release.

Revision ID: 0100
"""

import sqlalchemy as sa
from alembic import op

revision = "0100"
down_revision = None
branch_labels = None
depends_on = None

SQLITE_TRIGGERS = {
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

SQLITE_SEARCH = (
    "CREATE VIRTUAL TABLE study_search USING fts5"
    "(study_id UNINDEXED, search_text, tokenize = 'trigram case_sensitive 1')",
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
    create_tables()
    create_search()
    protect_audit_trail()


def create_search() -> None:
    for statement in SQLITE_SEARCH if op.get_context().dialect.name == "sqlite" else POSTGRES_SEARCH:
        op.execute(statement)


def protect_audit_trail() -> None:
    op.execute("INSERT INTO audit_head (id, sequence, mac, head_mac) VALUES (1, 0, '', '')")
    if op.get_context().dialect.name == "sqlite":
        for name, body in SQLITE_TRIGGERS.items():
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


def create_tables() -> None:
    op.create_table('associations',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('peer_address', sa.Text(), nullable=False),
    sa.Column('calling_ae_title', sa.Text(), nullable=False),
    sa.Column('called_ae_title', sa.Text(), nullable=False),
    sa.Column('result', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('count', sa.Integer(), nullable=False),
    sa.Column('first_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_associations')),
    sa.UniqueConstraint('peer_address', 'calling_ae_title', 'called_ae_title', 'result', 'reason', name='uq_associations')
    )
    op.create_index(op.f('ix_associations_last_at'), 'associations', ['last_at'], unique=False)
    op.create_table('audit_events',
    sa.Column('sequence', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=False, nullable=False),
    sa.Column('occurred_at', sa.Text(), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('outcome', sa.Text(), nullable=False),
    sa.Column('details', sa.Text(), nullable=False),
    sa.Column('mac', sa.String(length=64), nullable=False),
    sa.PrimaryKeyConstraint('sequence', name=op.f('pk_audit_events'))
    )
    op.create_index(op.f('ix_audit_events_action'), 'audit_events', ['action'], unique=False)
    op.create_index(op.f('ix_audit_events_subject'), 'audit_events', ['subject'], unique=False)
    op.create_table('audit_head',
    sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('sequence', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('mac', sa.String(length=64), nullable=False),
    sa.Column('head_mac', sa.String(length=64), nullable=False),
    sa.CheckConstraint('id = 1', name=op.f('ck_audit_head_only_one')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_head'))
    )
    op.create_table('clock',
    sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('boot_id', sa.String(length=64), nullable=False),
    sa.Column('booted_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('uptime_s', sa.Float(precision=53), nullable=False),
    sa.Column('seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_clock'))
    )
    op.create_table('commitments',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('ae_title', sa.Text(), nullable=False),
    sa.Column('transaction_uid', sa.String(length=64), nullable=False),
    sa.Column('peer_address', sa.Text(), nullable=False),
    sa.Column('sop_references', sa.JSON(), nullable=False),
    sa.Column('status', sa.Enum('pending', 'reported', 'failed', name='status', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_commitments')),
    sa.UniqueConstraint('ae_title', 'transaction_uid', name=op.f('uq_commitments_ae_title_transaction_uid'))
    )
    op.create_index('ix_commitments_status_next_attempt_at', 'commitments', ['status', 'next_attempt_at'], unique=False)
    op.create_table('faults',
    sa.Column('code', sa.String(length=32), nullable=False),
    sa.Column('subject', sa.String(length=256), nullable=False),
    sa.Column('count', sa.Integer(), nullable=False),
    sa.Column('details', sa.JSON(), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('code', 'subject', name=op.f('pk_faults'))
    )
    op.create_table('patients',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('issuer', sa.Text(), nullable=False),
    sa.Column('patient_id', sa.Text(), nullable=False),
    sa.Column('variant', sa.Integer(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('birth_date', sa.Text(), nullable=False),
    sa.Column('sex', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_patients')),
    sa.UniqueConstraint('issuer', 'patient_id', 'variant', name=op.f('uq_patients_issuer_patient_id_variant'))
    )
    op.create_index('ix_patients_patient_id', 'patients', ['patient_id'], unique=False)
    op.create_table('predictions',
    sa.Column('id', sa.String(length=64), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('input_sha256', sa.String(length=64), nullable=False),
    sa.Column('predicted_class', sa.Text(), nullable=True),
    sa.Column('probabilities', sa.JSON(), nullable=False),
    sa.Column('prediction_set', sa.JSON(), nullable=False),
    sa.Column('in_domain', sa.Boolean(), nullable=False),
    sa.Column('reasons', sa.JSON(), nullable=False),
    sa.Column('unvalidated', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('displayed', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('model_name', sa.Text(), nullable=False),
    sa.Column('model_version', sa.Text(), nullable=False),
    sa.Column('model_sha256', sa.String(length=64), nullable=False),
    sa.Column('temperature', sa.Float(precision=53), nullable=False),
    sa.Column('age', sa.Integer(), nullable=True),
    sa.Column('sex', sa.Text(), nullable=True),
    sa.Column('smoking_pack_years', sa.Float(precision=53), nullable=True),
    sa.Column('family_history', sa.Boolean(), nullable=True),
    sa.Column('symptoms', sa.Text(), nullable=True),
    sa.Column('created_by', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_predictions'))
    )
    op.create_index(op.f('ix_predictions_created_at'), 'predictions', ['created_at'], unique=False)
    op.create_table('promotions',
    sa.Column('number', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('kind', sa.Enum('promoted', 'rolled_back', name='kind', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('model_name', sa.Text(), nullable=False),
    sa.Column('model_version', sa.Text(), nullable=False),
    sa.Column('model_sha256', sa.String(length=64), nullable=False),
    sa.Column('bundle_sha256', sa.String(length=64), nullable=False),
    sa.Column('files', sa.JSON(), nullable=False),
    sa.Column('back_to', sa.Integer(), nullable=True),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('is_forced', sa.Boolean(), nullable=False),
    sa.Column('figures', sa.JSON(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_promotions'))
    )
    op.create_table('provider_accounts',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('issuer', sa.Text(), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('display_name', sa.Text(), nullable=False),
    sa.Column('is_disabled', sa.Boolean(), nullable=False),
    sa.Column('access_epoch', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_provider_accounts'))
    )
    op.create_table('saved_filters',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('owner', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('query', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_saved_filters')),
    sa.UniqueConstraint('owner', 'name', name=op.f('uq_saved_filters_owner_name'))
    )
    op.create_table('scanner_quarantines',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('kernel', sa.Text(), nullable=False),
    sa.Column('slice_spacing', sa.Text(), nullable=False),
    sa.Column('series_count', sa.Integer(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('held_by', sa.Text(), nullable=False),
    sa.Column('held_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('release_reason', sa.Text(), nullable=False),
    sa.Column('released_by', sa.Text(), nullable=False),
    sa.Column('released_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_scanner_quarantines'))
    )
    op.create_index('uq_scanner_quarantines_one_each', 'scanner_quarantines', ['model', 'kernel', 'slice_spacing'], unique=True, sqlite_where=sa.text('released_at IS NULL'), postgresql_where=sa.text('released_at IS NULL'))
    op.create_table('served_revisions',
    sa.Column('revision', sa.String(length=32), nullable=False),
    sa.PrimaryKeyConstraint('revision', name=op.f('pk_served_revisions'))
    )
    op.create_table('sign_in_attempts',
    sa.Column('key', sa.String(length=64), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('attempted_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('blocked_until', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_sign_in_attempts'))
    )
    op.create_index(op.f('ix_sign_in_attempts_attempted_at'), 'sign_in_attempts', ['attempted_at'], unique=False)
    op.create_table('tokens',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('role', sa.Enum('admin', 'radiologist', 'auditor', 'service', name='role', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('created_by', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('owner_id', sa.String(length=32), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_tokens')),
    sa.UniqueConstraint('name', name=op.f('uq_tokens_name')),
    sa.UniqueConstraint('sha256', name=op.f('uq_tokens_sha256'))
    )
    op.create_table('users',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('name_key', sa.Text(), nullable=False),
    sa.Column('role', sa.Enum('admin', 'radiologist', 'auditor', 'service', name='role', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('password_hash', sa.Text(), nullable=False),
    sa.Column('is_disabled', sa.Boolean(), nullable=False),
    sa.Column('access_epoch', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('password_changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_users')),
    sa.UniqueConstraint('name_key', name=op.f('uq_users_name_key'))
    )
    op.create_table('watch_report',
    sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('collected_to', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reported_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('report', sa.JSON(), nullable=False),
    sa.CheckConstraint('id = 1', name=op.f('ck_watch_report_only_one')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_watch_report'))
    )
    op.create_table('watched_scanners',
    sa.Column('key', sa.String(length=32), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('kernel', sa.Text(), nullable=False),
    sa.Column('slice_spacing', sa.Text(), nullable=False),
    sa.Column('series_count', sa.Integer(), nullable=False),
    sa.Column('block', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_watched_scanners'))
    )
    op.create_table('web_sessions',
    sa.Column('digest', sa.String(length=64), nullable=False),
    sa.Column('account_id', sa.String(length=32), nullable=False),
    sa.Column('access_epoch', sa.Integer(), nullable=False),
    sa.Column('role', sa.Enum('admin', 'radiologist', 'auditor', 'service', name='role', native_enum=False, create_constraint=True, length=16), nullable=True),
    sa.Column('role_mapping', sa.String(length=64), nullable=True),
    sa.Column('opened_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('digest', name=op.f('pk_web_sessions'))
    )
    op.create_index(op.f('ix_web_sessions_account_id'), 'web_sessions', ['account_id'], unique=False)
    op.create_index(op.f('ix_web_sessions_last_seen_at'), 'web_sessions', ['last_seen_at'], unique=False)
    op.create_table('workers',
    sa.Column('executor_id', sa.String(length=64), nullable=False),
    sa.Column('beats', sa.BigInteger(), nullable=False),
    sa.Column('version', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('beat_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('executor_id', name=op.f('pk_workers'))
    )
    op.create_table('drift_checks',
    sa.Column('scanner_key', sa.String(length=32), nullable=False),
    sa.Column('block', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('checked_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('drifted', sa.JSON(), nullable=False),
    sa.Column('indices', sa.JSON(), nullable=False),
    sa.Column('figures', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['scanner_key'], ['watched_scanners.key'], name=op.f('fk_drift_checks_scanner_key_watched_scanners')),
    sa.PrimaryKeyConstraint('scanner_key', 'block', name=op.f('pk_drift_checks'))
    )
    op.create_table('observations',
    sa.Column('sequence', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('analysis_id', sa.String(length=32), nullable=False),
    sa.Column('series_id', sa.String(length=32), nullable=False),
    sa.Column('scanner_key', sa.String(length=32), nullable=False),
    sa.Column('number', sa.Integer(), nullable=True),
    sa.Column('site', sa.Text(), nullable=False),
    sa.Column('model_sha256', sa.String(length=64), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('reason_codes', sa.JSON(), nullable=False),
    sa.Column('summary', sa.JSON(none_as_null=True), nullable=True),
    sa.Column('findings', sa.JSON(), nullable=False),
    sa.Column('finding_count', sa.Integer(), nullable=False),
    sa.Column('doubts', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['scanner_key'], ['watched_scanners.key'], name=op.f('fk_observations_scanner_key_watched_scanners')),
    sa.PrimaryKeyConstraint('sequence', name=op.f('pk_observations')),
    sa.UniqueConstraint('analysis_id', name=op.f('uq_observations_analysis_id')),
    sa.UniqueConstraint('scanner_key', 'number', name=op.f('uq_observations_scanner_key_number')),
    sa.UniqueConstraint('series_id', name=op.f('uq_observations_series_id'))
    )
    op.create_index(op.f('ix_observations_finished_at'), 'observations', ['finished_at'], unique=False)
    op.create_table('studies',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('study_instance_uid', sa.String(length=64), nullable=False),
    sa.Column('patient_row_id', sa.String(length=32), nullable=False),
    sa.Column('study_date', sa.Text(), nullable=False),
    sa.Column('study_time', sa.Text(), nullable=False),
    sa.Column('study_description', sa.Text(), nullable=False),
    sa.Column('accession_number', sa.Text(), nullable=False),
    sa.Column('local_study_id', sa.Text(), server_default='', nullable=False),
    sa.Column('referring_physician', sa.Text(), nullable=False),
    sa.Column('search_text', sa.Text(), nullable=False),
    sa.Column('state', sa.Enum('receiving', 'queued', 'analysing', 'analysed', 'not_analysed', 'failed', name='state', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('reasons', sa.JSON(), nullable=False),
    sa.Column('flags', sa.JSON(), nullable=False),
    sa.Column('caveats', sa.JSON(), server_default='[]', nullable=False),
    sa.Column('series_count', sa.Integer(), nullable=False),
    sa.Column('instance_count', sa.Integer(), nullable=False),
    sa.Column('finding_count', sa.Integer(), nullable=False),
    sa.Column('malignancy_probability', sa.Float(precision=53), nullable=True),
    sa.Column('interval_low', sa.Float(precision=53), nullable=True),
    sa.Column('interval_high', sa.Float(precision=53), nullable=True),
    sa.Column('displayed', sa.Text(), nullable=True),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('analysed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('settled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reviewed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reviewed_by', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(['patient_row_id'], ['patients.id'], name=op.f('fk_studies_patient_row_id_patients')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_studies')),
    sa.UniqueConstraint('study_instance_uid', name=op.f('uq_studies_study_instance_uid'))
    )
    op.create_index('ix_studies_accession_number', 'studies', ['accession_number'], unique=False)
    op.create_index('ix_studies_local_study_id', 'studies', ['local_study_id'], unique=False)
    op.create_index('ix_studies_malignancy_probability', 'studies', ['malignancy_probability'], unique=False)
    op.create_index(op.f('ix_studies_patient_row_id'), 'studies', ['patient_row_id'], unique=False)
    op.create_index('ix_studies_received_at_id', 'studies', ['received_at', 'id'], unique=False)
    op.create_index('ix_studies_reviewed', 'studies', ['received_at', 'id'], unique=False, sqlite_where=sa.text('reviewed_at IS NOT NULL'), postgresql_where=sa.text('reviewed_at IS NOT NULL'))
    op.create_index('ix_studies_state_received_at_id', 'studies', ['state', 'received_at', 'id'], unique=False)
    op.create_index('ix_studies_study_date_received_at_id', 'studies', ['study_date', 'received_at', 'id'], unique=False)
    op.create_index('ix_studies_unread', 'studies', ['received_at', 'id'], unique=False, sqlite_where=sa.text('reviewed_at IS NULL'), postgresql_where=sa.text('reviewed_at IS NULL'))
    op.create_index('ix_studies_unread_probability', 'studies', ['malignancy_probability', 'received_at', 'id'], unique=False, sqlite_where=sa.text('reviewed_at IS NULL AND malignancy_probability IS NOT NULL'), postgresql_where=sa.text('reviewed_at IS NULL AND malignancy_probability IS NOT NULL'))
    op.create_table('prior_searches',
    sa.Column('study_id', sa.String(length=32), nullable=False),
    sa.Column('pacs', sa.String(length=16), nullable=False),
    sa.Column('status', sa.Enum('pending', 'done', 'incomplete', 'failed', name='status', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['study_id'], ['studies.id'], name=op.f('fk_prior_searches_study_id_studies')),
    sa.PrimaryKeyConstraint('study_id', 'pacs', name=op.f('pk_prior_searches'))
    )
    op.create_table('prior_studies',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('study_id', sa.String(length=32), nullable=False),
    sa.Column('pacs', sa.Text(), nullable=False),
    sa.Column('study_instance_uid', sa.String(length=64), nullable=False),
    sa.Column('status', sa.Enum('pending', 'done', 'incomplete', 'failed', name='status', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('expected_count', sa.Integer(), nullable=False),
    sa.Column('received_count', sa.Integer(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['study_id'], ['studies.id'], name=op.f('fk_prior_studies_study_id_studies')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_prior_studies')),
    sa.UniqueConstraint('study_instance_uid', name=op.f('uq_prior_studies_study_instance_uid'))
    )
    op.create_index(op.f('ix_prior_studies_study_id'), 'prior_studies', ['study_id'], unique=False)
    op.create_table('series',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('series_instance_uid', sa.String(length=64), nullable=False),
    sa.Column('study_id', sa.String(length=32), nullable=False),
    sa.Column('series_number', sa.BigInteger(), nullable=True),
    sa.Column('series_description', sa.Text(), nullable=False),
    sa.Column('modality', sa.Text(), nullable=False),
    sa.Column('instance_count', sa.Integer(), nullable=False),
    sa.Column('state', sa.Enum('receiving', 'queued', 'analysing', 'analysed', 'not_analysed', 'failed', name='state', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('reasons', sa.JSON(), nullable=False),
    sa.Column('is_forced', sa.Boolean(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_received_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['study_id'], ['studies.id'], name=op.f('fk_series_study_id_studies')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_series')),
    sa.UniqueConstraint('series_instance_uid', name=op.f('uq_series_series_instance_uid'))
    )
    op.create_index(op.f('ix_series_state'), 'series', ['state'], unique=False)
    op.create_index(op.f('ix_series_study_id'), 'series', ['study_id'], unique=False)
    op.create_table('analyses',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('series_id', sa.String(length=32), nullable=False),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('input_digest', sa.String(length=64), nullable=False),
    sa.Column('instance_count', sa.Integer(), nullable=False),
    sa.Column('model_name', sa.Text(), nullable=False),
    sa.Column('model_version', sa.Text(), nullable=False),
    sa.Column('model_sha256', sa.String(length=64), nullable=False),
    sa.Column('run_number', sa.Integer(), nullable=False),
    sa.Column('status', sa.Enum('queued', 'running', 'current', 'superseded', 'failed', 'quarantined', name='status', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('reasons', sa.JSON(), nullable=False),
    sa.Column('caveats', sa.JSON(), server_default='[]', nullable=False),
    sa.Column('overruled', sa.JSON(), server_default='[]', nullable=False),
    sa.Column('measures', sa.JSON(), nullable=False),
    sa.Column('requested_by', sa.Text(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('requested_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['series_id'], ['series.id'], name=op.f('fk_analyses_series_id_series')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_analyses')),
    sa.UniqueConstraint('series_id', 'input_digest', 'model_sha256', 'run_number', name=op.f('uq_analyses_series_id_input_digest_model_sha256_run_number')),
    sa.UniqueConstraint('series_id', 'ordinal', name=op.f('uq_analyses_series_id_ordinal'))
    )
    op.create_index('ix_analyses_finished_at_id', 'analyses', ['finished_at', 'id'], unique=False)
    op.create_index('ix_analyses_status_requested_at', 'analyses', ['status', 'requested_at'], unique=False)
    op.create_index('uq_analyses_one_current', 'analyses', ['series_id'], unique=True, sqlite_where=sa.text("status = 'current'"), postgresql_where=sa.text("status = 'current'"))
    op.create_table('instances',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('sop_instance_uid', sa.String(length=64), nullable=False),
    sa.Column('sop_class_uid', sa.String(length=64), nullable=False),
    sa.Column('transfer_syntax_uid', sa.String(length=64), nullable=False),
    sa.Column('series_id', sa.String(length=32), nullable=False),
    sa.Column('arrival', sa.Integer(), nullable=False),
    sa.Column('instance_number', sa.BigInteger(), nullable=True),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('calling_ae_title', sa.Text(), nullable=False),
    sa.Column('peer_address', sa.Text(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['series_id'], ['series.id'], name=op.f('fk_instances_series_id_series')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_instances')),
    sa.UniqueConstraint('series_id', 'arrival', name=op.f('uq_instances_series_id_arrival')),
    sa.UniqueConstraint('sop_instance_uid', name=op.f('uq_instances_sop_instance_uid'))
    )
    op.create_table('deliveries',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('analysis_id', sa.String(length=32), nullable=False),
    sa.Column('sop_instance_uid', sa.String(length=64), nullable=False),
    sa.Column('sop_class_uid', sa.String(length=64), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('destination', sa.Text(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('status', sa.Enum('pending', 'sent', 'committed', 'failed', 'declined', name='status', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['analysis_id'], ['analyses.id'], name=op.f('fk_deliveries_analysis_id_analyses')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_deliveries')),
    sa.UniqueConstraint('sop_instance_uid', 'destination', name=op.f('uq_deliveries_sop_instance_uid_destination'))
    )
    op.create_index(op.f('ix_deliveries_analysis_id'), 'deliveries', ['analysis_id'], unique=False)
    op.create_index('ix_deliveries_status_next_attempt_at', 'deliveries', ['status', 'next_attempt_at'], unique=False)
    op.create_table('findings',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('study_id', sa.String(length=32), nullable=False),
    sa.Column('series_id', sa.String(length=32), nullable=False),
    sa.Column('instance_id', sa.String(length=32), nullable=False),
    sa.Column('analysis_id', sa.String(length=32), nullable=True),
    sa.Column('ordinal', sa.Integer(), nullable=False),
    sa.Column('origin', sa.Enum('model', 'reader', name='origin', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('frame_number', sa.Integer(), nullable=False),
    sa.Column('row_px', sa.Float(precision=53), nullable=False),
    sa.Column('column_px', sa.Float(precision=53), nullable=False),
    sa.Column('x_mm', sa.Float(precision=53), nullable=False),
    sa.Column('y_mm', sa.Float(precision=53), nullable=False),
    sa.Column('z_mm', sa.Float(precision=53), nullable=False),
    sa.Column('diameter_mm', sa.Float(precision=53), nullable=True),
    sa.Column('nodule_probability', sa.Float(precision=53), nullable=True),
    sa.Column('malignancy_probability', sa.Float(precision=53), nullable=True),
    sa.Column('interval_low', sa.Float(precision=53), nullable=True),
    sa.Column('interval_high', sa.Float(precision=53), nullable=True),
    sa.Column('prediction_set', sa.JSON(), nullable=False),
    sa.Column('reasons', sa.JSON(), nullable=False),
    sa.Column('attributes', sa.JSON(), nullable=False),
    sa.Column('model_name', sa.Text(), nullable=False),
    sa.Column('model_version', sa.Text(), nullable=False),
    sa.Column('model_sha256', sa.String(length=64), nullable=False),
    sa.Column('created_by', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('withdrawn_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(origin = 'model') = (analysis_id IS NOT NULL)", name=op.f('ck_findings_model_findings_have_an_analysis')),
    sa.CheckConstraint('interval_low BETWEEN 0 AND 1 AND interval_high BETWEEN interval_low AND 1', name=op.f('ck_findings_interval')),
    sa.CheckConstraint('malignancy_probability BETWEEN 0 AND 1', name=op.f('ck_findings_malignancy_probability')),
    sa.CheckConstraint('nodule_probability BETWEEN 0 AND 1', name=op.f('ck_findings_nodule_probability')),
    sa.ForeignKeyConstraint(['analysis_id'], ['analyses.id'], name=op.f('fk_findings_analysis_id_analyses')),
    sa.ForeignKeyConstraint(['instance_id'], ['instances.id'], name=op.f('fk_findings_instance_id_instances')),
    sa.ForeignKeyConstraint(['series_id'], ['series.id'], name=op.f('fk_findings_series_id_series')),
    sa.ForeignKeyConstraint(['study_id'], ['studies.id'], name=op.f('fk_findings_study_id_studies')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_findings'))
    )
    op.create_index(op.f('ix_findings_analysis_id'), 'findings', ['analysis_id'], unique=False)
    op.create_index(op.f('ix_findings_study_id'), 'findings', ['study_id'], unique=False)
    op.create_table('result_failures',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('analysis_id', sa.String(length=32), nullable=False),
    sa.Column('purpose', sa.String(length=16), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['analysis_id'], ['analyses.id'], name=op.f('fk_result_failures_analysis_id_analyses')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_result_failures')),
    sa.UniqueConstraint('analysis_id', 'purpose', name=op.f('uq_result_failures_analysis_id_purpose'))
    )
    op.create_table('results',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('analysis_id', sa.String(length=32), nullable=False),
    sa.Column('study_id', sa.String(length=32), nullable=False),
    sa.Column('sop_instance_uid', sa.String(length=64), nullable=False),
    sa.Column('sop_class_uid', sa.String(length=64), nullable=False),
    sa.Column('series_instance_uid', sa.String(length=64), nullable=False),
    sa.Column('series_number', sa.Integer(), nullable=False),
    sa.Column('modality', sa.Text(), nullable=False),
    sa.Column('instance_number', sa.Integer(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('path', sa.Text(), nullable=False),
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['analysis_id'], ['analyses.id'], name=op.f('fk_results_analysis_id_analyses')),
    sa.ForeignKeyConstraint(['study_id'], ['studies.id'], name=op.f('fk_results_study_id_studies')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_results')),
    sa.UniqueConstraint('sop_instance_uid', name=op.f('uq_results_sop_instance_uid'))
    )
    op.create_index(op.f('ix_results_analysis_id'), 'results', ['analysis_id'], unique=False)
    op.create_index(op.f('ix_results_study_id'), 'results', ['study_id'], unique=False)
    op.create_table('retractions',
    sa.Column('analysis_id', sa.String(length=32), nullable=False),
    sa.Column('code', sa.Enum('113001', '113037', name='code', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('requested_by', sa.Text(), nullable=False),
    sa.Column('requested_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['analysis_id'], ['analyses.id'], name=op.f('fk_retractions_analysis_id_analyses')),
    sa.PrimaryKeyConstraint('analysis_id', name=op.f('pk_retractions'))
    )
    op.create_table('shadow_runs',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('analysis_id', sa.String(length=32), nullable=False),
    sa.Column('model_name', sa.Text(), nullable=False),
    sa.Column('model_version', sa.Text(), nullable=False),
    sa.Column('model_sha256', sa.String(length=64), nullable=False),
    sa.Column('reasons', sa.JSON(), nullable=False),
    sa.Column('findings', sa.JSON(), nullable=False),
    sa.Column('measures', sa.JSON(), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['analysis_id'], ['analyses.id'], name=op.f('fk_shadow_runs_analysis_id_analyses')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_shadow_runs')),
    sa.UniqueConstraint('analysis_id', 'model_sha256', name=op.f('uq_shadow_runs_analysis_id_model_sha256'))
    )
    op.create_index('ix_shadow_runs_model_sha256_finished_at', 'shadow_runs', ['model_sha256', 'finished_at'], unique=False)
    op.create_table('assessments',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('finding_id', sa.String(length=32), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('verdict', sa.Enum('accept', 'reject', 'unsure', name='verdict', native_enum=False, create_constraint=True, length=16), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('comment', sa.Text(), nullable=False),
    sa.Column('reader', sa.Text(), nullable=False),
    sa.Column('is_read_first', sa.Boolean(), server_default=sa.false(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('withdrawn_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['finding_id'], ['findings.id'], name=op.f('fk_assessments_finding_id_findings')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_assessments')),
    sa.UniqueConstraint('finding_id', 'number', name=op.f('uq_assessments_finding_id_number'))
    )
    op.create_index('ix_assessments_created_at', 'assessments', ['created_at'], unique=False)
    op.create_table('pathology',
    sa.Column('id', sa.String(length=32), nullable=False),
    sa.Column('study_id', sa.String(length=32), nullable=False),
    sa.Column('finding_id', sa.String(length=32), nullable=True),
    sa.Column('x_mm', sa.Float(precision=53), nullable=False),
    sa.Column('y_mm', sa.Float(precision=53), nullable=False),
    sa.Column('z_mm', sa.Float(precision=53), nullable=False),
    sa.Column('is_malignant', sa.Boolean(), nullable=False),
    sa.Column('reported_on', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('imported_by', sa.Text(), nullable=False),
    sa.Column('imported_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['finding_id'], ['findings.id'], name=op.f('fk_pathology_finding_id_findings')),
    sa.ForeignKeyConstraint(['study_id'], ['studies.id'], name=op.f('fk_pathology_study_id_studies')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_pathology'))
    )
    op.create_index(op.f('ix_pathology_finding_id'), 'pathology', ['finding_id'], unique=False)
    op.create_index(op.f('ix_pathology_imported_at'), 'pathology', ['imported_at'], unique=False)
    op.create_index(op.f('ix_pathology_study_id'), 'pathology', ['study_id'], unique=False)


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for name in SQLITE_TRIGGERS:
            op.execute(f"DROP TRIGGER {name}")
    else:
        for table, name, *_ in POSTGRES_TRIGGERS:
            op.execute(f"DROP TRIGGER {name} ON {table}")
        for name in POSTGRES_FUNCTIONS:
            op.execute(f"DROP FUNCTION {name}()")
    if op.get_context().dialect.name == "sqlite":
        for name in ("added", "changed", "removed"):
            op.execute(f"DROP TRIGGER study_search_{name}")
        op.execute("DROP TABLE study_search")
    else:
        op.drop_index("ix_studies_search_text", "studies")  # the extension stays: it may have been here before
    drop_tables()


def drop_tables() -> None:
    op.drop_index(op.f('ix_pathology_study_id'), table_name='pathology')
    op.drop_index(op.f('ix_pathology_imported_at'), table_name='pathology')
    op.drop_index(op.f('ix_pathology_finding_id'), table_name='pathology')
    op.drop_table('pathology')
    op.drop_index('ix_assessments_created_at', table_name='assessments')
    op.drop_table('assessments')
    op.drop_index('ix_shadow_runs_model_sha256_finished_at', table_name='shadow_runs')
    op.drop_table('shadow_runs')
    op.drop_table('retractions')
    op.drop_index(op.f('ix_results_study_id'), table_name='results')
    op.drop_index(op.f('ix_results_analysis_id'), table_name='results')
    op.drop_table('results')
    op.drop_table('result_failures')
    op.drop_index(op.f('ix_findings_study_id'), table_name='findings')
    op.drop_index(op.f('ix_findings_analysis_id'), table_name='findings')
    op.drop_table('findings')
    op.drop_index('ix_deliveries_status_next_attempt_at', table_name='deliveries')
    op.drop_index(op.f('ix_deliveries_analysis_id'), table_name='deliveries')
    op.drop_table('deliveries')
    op.drop_table('instances')
    op.drop_index('uq_analyses_one_current', table_name='analyses', sqlite_where=sa.text("status = 'current'"), postgresql_where=sa.text("status = 'current'"))
    op.drop_index('ix_analyses_status_requested_at', table_name='analyses')
    op.drop_index('ix_analyses_finished_at_id', table_name='analyses')
    op.drop_table('analyses')
    op.drop_index(op.f('ix_series_study_id'), table_name='series')
    op.drop_index(op.f('ix_series_state'), table_name='series')
    op.drop_table('series')
    op.drop_index(op.f('ix_prior_studies_study_id'), table_name='prior_studies')
    op.drop_table('prior_studies')
    op.drop_table('prior_searches')
    op.drop_index('ix_studies_unread_probability', table_name='studies', sqlite_where=sa.text('reviewed_at IS NULL AND malignancy_probability IS NOT NULL'), postgresql_where=sa.text('reviewed_at IS NULL AND malignancy_probability IS NOT NULL'))
    op.drop_index('ix_studies_unread', table_name='studies', sqlite_where=sa.text('reviewed_at IS NULL'), postgresql_where=sa.text('reviewed_at IS NULL'))
    op.drop_index('ix_studies_study_date_received_at_id', table_name='studies')
    op.drop_index('ix_studies_state_received_at_id', table_name='studies')
    op.drop_index('ix_studies_reviewed', table_name='studies', sqlite_where=sa.text('reviewed_at IS NOT NULL'), postgresql_where=sa.text('reviewed_at IS NOT NULL'))
    op.drop_index('ix_studies_received_at_id', table_name='studies')
    op.drop_index(op.f('ix_studies_patient_row_id'), table_name='studies')
    op.drop_index('ix_studies_malignancy_probability', table_name='studies')
    op.drop_index('ix_studies_local_study_id', table_name='studies')
    op.drop_index('ix_studies_accession_number', table_name='studies')
    op.drop_table('studies')
    op.drop_index(op.f('ix_observations_finished_at'), table_name='observations')
    op.drop_table('observations')
    op.drop_table('drift_checks')
    op.drop_table('workers')
    op.drop_index(op.f('ix_web_sessions_last_seen_at'), table_name='web_sessions')
    op.drop_index(op.f('ix_web_sessions_account_id'), table_name='web_sessions')
    op.drop_table('web_sessions')
    op.drop_table('watched_scanners')
    op.drop_table('watch_report')
    op.drop_table('users')
    op.drop_table('tokens')
    op.drop_index(op.f('ix_sign_in_attempts_attempted_at'), table_name='sign_in_attempts')
    op.drop_table('sign_in_attempts')
    op.drop_table('served_revisions')
    op.drop_index('uq_scanner_quarantines_one_each', table_name='scanner_quarantines', sqlite_where=sa.text('released_at IS NULL'), postgresql_where=sa.text('released_at IS NULL'))
    op.drop_table('scanner_quarantines')
    op.drop_table('saved_filters')
    op.drop_table('provider_accounts')
    op.drop_table('promotions')
    op.drop_index(op.f('ix_predictions_created_at'), table_name='predictions')
    op.drop_table('predictions')
    op.drop_index('ix_patients_patient_id', table_name='patients')
    op.drop_table('patients')
    op.drop_table('faults')
    op.drop_index('ix_commitments_status_next_attempt_at', table_name='commitments')
    op.drop_table('commitments')
    op.drop_table('clock')
    op.drop_table('audit_head')
    op.drop_index(op.f('ix_audit_events_subject'), table_name='audit_events')
    op.drop_index(op.f('ix_audit_events_action'), table_name='audit_events')
    op.drop_table('audit_events')
    op.drop_index(op.f('ix_associations_last_at'), table_name='associations')
    op.drop_table('associations')
