"""Vocabulary of the records: studies, analyses, findings, verdicts, deliveries, caveats."""
