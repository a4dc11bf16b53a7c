"""Calibration of probabilities and the evidence behind them."""
