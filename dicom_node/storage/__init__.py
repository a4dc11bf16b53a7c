"""Stored instances: a folder or an object store, durable writes, digests, deletion."""
