"""Drift of series, answers and calibration; comparison of models."""
