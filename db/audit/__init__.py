"""Append-only audit trail, chained by keyed digests, and its verification."""
