"""Reading: worklist, viewer, findings, blinded reading, events."""
