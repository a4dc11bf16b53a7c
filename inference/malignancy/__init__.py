"""Malignancy of nodules: ensemble, submodels, estimator."""
