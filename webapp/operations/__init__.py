"""Administration, monitoring, audit, health, model and conformance pages."""
