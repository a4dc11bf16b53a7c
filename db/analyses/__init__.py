"""Analyses of series and uploads, their findings, verdicts, models and scheduling."""
