"""Several hospitals train one nodule network and calibrate it together; weights and counts travel, images never do."""

import os

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # before flwr is imported: it would tell its makers of each run
