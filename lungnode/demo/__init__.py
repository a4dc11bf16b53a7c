"""``lungnode demo``: a generated study through the whole flow."""
