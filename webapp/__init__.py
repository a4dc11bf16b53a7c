"""Web pages and HTTP API of lungnode; ``webapp.assembly`` creates the app."""
