"""Training, calibration and evaluation of the shipped models, on research data or a user's own."""
