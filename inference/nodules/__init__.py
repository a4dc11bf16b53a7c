"""Nodule candidates, their boundary and measurement."""
