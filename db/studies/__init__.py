"""Studies, series and instances, their states, and patients."""
