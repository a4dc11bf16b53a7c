"""Choice of the device that the networks run on."""

from __future__ import annotations

import torch

from inference.errors import BundleError


def resolve_device(name: str) -> torch.device:
    """Return the device of a setting; ``auto`` is the CUDA device with the most free memory, else the CPU.

    Processes that load their models one after the other are thereby spread over the devices.

    Raises
    ------
    BundleError
        ``cuda`` is set and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BundleError("LUNGNODE_MODEL__DEVICE is cuda, but no CUDA device is usable; set it to auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    free = [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
    return torch.device("cuda", free.index(max(free)))
