"""Drift watch, alerts, self-checks and the listener's metrics."""
