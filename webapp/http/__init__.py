"""HTTP: errors, limits, sessions, languages, forms and the WSGI server."""
