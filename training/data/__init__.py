"""Readers of training data, patches, augmentation, splits and checks for leaks."""
