"""SQLAlchemy tables and column types."""
