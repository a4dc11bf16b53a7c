"""A generated chest CT of no real patient, for demonstrations and tests; not for claims of accuracy."""
