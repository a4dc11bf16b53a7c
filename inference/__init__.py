"""Arrays to probabilities: no network, SQL, web or settings here."""
