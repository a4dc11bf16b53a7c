"""Entry points of the Flower app."""
