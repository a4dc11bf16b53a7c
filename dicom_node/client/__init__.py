"""Services that this node uses (SCU): store, query, retrieve, commitment, STOW-RS."""
