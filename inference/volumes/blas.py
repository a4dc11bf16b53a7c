"""Number of BLAS threads of NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np  # noqa: F401 - its BLAS has to be loaded to be found
from threadpoolctl import ThreadpoolController

_LOADED = ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit matrix products to one thread each, process-wide, within the block.

    Work is shared out among threads of our own. Those of the BLAS beside them wait for each other by spinning, which
    on a busy machine has cost ten times the work itself.
    """
    with _LOADED.limit(limits=1, user_api="blas"):
        yield
