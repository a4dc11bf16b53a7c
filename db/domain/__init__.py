"""Domain types: studies, analyses, findings, verdicts, deliveries, caveats."""
