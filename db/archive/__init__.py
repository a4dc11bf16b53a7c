"""Index and search of stored objects, and retention."""
