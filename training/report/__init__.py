"""The model report: figures, pages and plots."""
