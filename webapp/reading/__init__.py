"""Worklist, viewer, findings, blinded reading and events."""
