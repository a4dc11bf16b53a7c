"""Connections to SQLite and PostgreSQL, locks, sessions, and the schema's revision."""
