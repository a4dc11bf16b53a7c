"""Collaborators that views share: metrics, readiness, view audit, change feed, upload images."""
