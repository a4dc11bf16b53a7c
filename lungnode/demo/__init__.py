"""``lungnode demo``: sends a generated study through the service."""
