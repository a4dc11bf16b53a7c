"""Out-of-distribution checks: surroundings, attention, uploaded pictures."""
