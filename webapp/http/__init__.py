"""HTTP: errors, headers, limits, sessions, languages, forms, and the WSGI server."""
