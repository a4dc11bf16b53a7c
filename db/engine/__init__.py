"""Connections to SQLite and PostgreSQL, locks, sessions and schema revisions."""
