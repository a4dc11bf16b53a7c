"""Fitting of combination, calibrator and thresholds, and figures of them."""
