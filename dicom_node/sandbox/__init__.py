"""Parsing and decoding of received files in child processes with limits."""
