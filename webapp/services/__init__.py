"""Services shared by views: metrics, readiness, view audit, change feed, upload images."""
