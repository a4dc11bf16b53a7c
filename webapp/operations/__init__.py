"""Pages of administrators and of the model: health, monitoring, audit, conformance."""
