"""The worklist: rows, filters, order, and filters that readers saved."""
