"""Worklist: rows, filters, order and saved filters."""
