"""Entry point of ``lungnode`` and ``python -m lungnode``; interruptions end it without a traceback."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit status 143 on SIGTERM and 130 on Ctrl-C, also while modules load."""
    try:
        from lungnode.processes import stop_request

        stop_request.install()
        from lungnode.cli import main as run

        run()
    except KeyboardInterrupt:
        print("lungnode: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
