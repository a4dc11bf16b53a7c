"""Records of received studies, analyses, verdicts and accounts, with an append-only audit trail."""
