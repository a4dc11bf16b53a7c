"""``lungnode serve`` with an analyzer that needs no weights; settings come from the environment, as ever.

``python -m tests.support.serve_fast CALLS DELAY_S [PART]``
"""

from __future__ import annotations

import sys
from functools import partial
from os import environ
from pathlib import Path

from lungnode.commands.context import read_settings
from lungnode.commands.serve import serve
from lungnode.errors import LungnodeError
from tests.support.fast_analyzer import make_fast_analyzer, no_analyzer

if __name__ == "__main__":
    is_broken = "LUNGNODE_TEST_NO_MODEL" in environ
    make = no_analyzer if is_broken else partial(make_fast_analyzer, Path(sys.argv[1]), float(sys.argv[2]))
    try:
        status = serve(read_settings(), sys.argv[3] if len(sys.argv) > 3 else None, make_analyzer=make)
    except LungnodeError as error:
        sys.exit(f"lungnode: {error}")
    sys.exit(status)
