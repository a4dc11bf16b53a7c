"""Settings: sections, names, defaults, and the table of them."""
