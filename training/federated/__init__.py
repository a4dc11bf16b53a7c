"""Several hospitals train one nodule network and calibrate it together; weights and counts travel, images never do."""
