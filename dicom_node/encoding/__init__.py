"""Encoded datasets: Part 10 files, elements, transfer syntaxes, UIDs, text, statuses."""
