"""States of studies, series and instances, and the patients they belong to."""
