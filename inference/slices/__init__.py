"""The whole-slice model for uploaded images."""
