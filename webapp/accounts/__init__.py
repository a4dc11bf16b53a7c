"""Sign-in, OpenID Connect, and endpoint permissions by role."""
