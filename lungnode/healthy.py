"""``python -m lungnode.healthy [PART...]``: exit status 0 where the parts of this HOME are up; what containers ask.

A part is up when it has announced itself, its supervisor lives, and, where it listens, a connection is accepted.
Needs no sign-in and loads nothing of the service.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_S = 4.0
REACHED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, never bound


def is_up(run_folder: Path, part: str) -> bool:
    """Whether this part has announced itself, and is still there."""
    try:
        told = json.loads((run_folder / f"{part}.json").read_text(encoding="utf-8"))
        os.kill(int(told["supervisor_pid"]), 0)
        if "port" in told:
            host = REACHED.get(told["host"], told["host"])
            socket.create_connection((host, int(told["port"])), timeout=TIMEOUT_S).close()
    except (OSError, ValueError, KeyError):
        return False
    return True


def main(parts: Sequence[str]) -> int:
    """Check the parts named, or all three; says which are not up."""
    home = Path(os.environ.get("LUNGNODE_HOME", "var/lungnode")).expanduser()
    down = [part for part in parts or ("dicom", "worker", "web") if not is_up(home / "run", part)]
    for part in down:
        print(f"lungnode: {part} is not up", file=sys.stderr)
    return 1 if down else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
