"""Measurements, each a plain script: a table for people on standard error, one JSON object on standard output."""
