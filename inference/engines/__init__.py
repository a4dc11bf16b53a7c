"""Engines that run networks: PyTorch and OpenVINO, on CPU or GPU."""
