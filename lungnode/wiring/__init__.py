"""Builds every part of the service from the settings."""
