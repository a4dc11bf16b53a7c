"""Sign-in, OpenID Connect, and which role may call which endpoint."""
