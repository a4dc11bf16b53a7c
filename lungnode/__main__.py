"""The ``lungnode`` command, also as ``python -m lungnode``: a stop at any moment ends it without a traceback."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; SIGTERM ends it in order with status 143, Ctrl-C with 130, also while modules load."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        from lungnode.cli import main as run

        run()
    except KeyboardInterrupt:
        print("lungnode: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
