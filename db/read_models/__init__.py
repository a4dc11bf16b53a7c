"""Records joined for display: a study, a result's timeline, operations."""
