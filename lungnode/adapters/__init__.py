"""Implementations of the web's ports: models, stored studies, images, intake."""
