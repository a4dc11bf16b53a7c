"""A generated chest CT for demonstrations and tests; it is nobody's, and no accuracy is ever claimed on it."""
