"""Manual uploads: ``POST /predict`` and its results."""
