"""Errors of this package.

InferenceError
└── BundleError     a model bundle is missing, altered or does not fit
"""

from __future__ import annotations


class InferenceError(Exception):
    """Base of all errors of inference."""


class BundleError(InferenceError):
    """A model bundle cannot be used."""
