"""Commands of ``lungnode``."""
