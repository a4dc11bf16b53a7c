"""Records: what arrived, what was answered, who saw it, and the audit trail that proves it."""
