"""Manual uploads: the form, ``POST /predict`` and its answer."""
