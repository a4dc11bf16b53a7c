"""Result objects, their deliveries, storage commitments and failures."""
