"""Drift observations, workload, workers, associations, faults and the clock."""
