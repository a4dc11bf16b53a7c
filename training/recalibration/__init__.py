"""Recalibration of a bundle at a site."""
