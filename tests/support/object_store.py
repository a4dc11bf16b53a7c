"""An S3-compatible store as a process of its own: ``python -m tests.support.object_store PORT``."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dicom_node.storage.object_files import ObjectStoreAddress

ROOT = Path(__file__).parents[2]
BUCKET = "images"
KEY = "testing"


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStoreAddress]:
    """Run one with an empty bucket."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.object_store"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield address(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def address(port: int) -> ObjectStoreAddress:
    """Address of a store of this module."""
    return ObjectStoreAddress(f"s3://{BUCKET}/lungnode", f"http://127.0.0.1:{port}", KEY, KEY)


def settings(store: ObjectStoreAddress) -> dict[str, str]:
    """Name it in a service's environment."""
    return {
        "LUNGNODE_STORE__URL": store.url,
        "LUNGNODE_STORE__ENDPOINT_URL": store.endpoint_url,
        "LUNGNODE_STORE__KEY": store.key,
        "LUNGNODE_STORE__SECRET": store.secret,
    }


def main() -> None:
    """Serve until killed; prints the port that the kernel gave."""
    import logging
    import threading

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    file_system, _ = address(port).open()
    file_system.mkdir(BUCKET)
    print(port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
