"""Index of stored objects, searches in it, and retention."""
