"""Background work: the worker's loop, durable workflows, attempts, scheduling, liveness."""
