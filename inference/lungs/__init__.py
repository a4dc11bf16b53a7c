"""Segmentation of the lungs."""
