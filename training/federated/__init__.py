"""Federated training and calibration of a nodule network; sites exchange weights and counts, never images."""
