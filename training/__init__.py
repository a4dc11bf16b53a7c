"""Train, calibrate and evaluate the shipped models, from folders of research data or of a user's own."""
