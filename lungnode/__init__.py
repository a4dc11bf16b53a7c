"""Composition root: settings, logging, commands, and the wiring of all packages."""
