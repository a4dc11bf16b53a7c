"""A web server of its own for browser tests: real waitress, database, stored files and decoding.

Uploads and clicks are answered by a canned predictor, or by the shipped models where ``models`` is asked for.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.database import Database
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.storage.instance_store import InstanceStore
from lungnode.adapters.archive_files import ArchiveFiles
from lungnode.adapters.stored_series import StoredSeries
from tests.support.factories import SimpleNodule, add_ball, simple_chest
from tests.support.webapp_doubles import CannedPredictor, FixedIntake, open_database
from webapp.assembly import create_app
from webapp.http.server import make_server
from webapp.options import WebOptions
from webapp.ports import Predictor

SLICES, SIDE = 40, 128
SPACING_MM = (6.0, 2.66, 2.66)
NODULE = SimpleNodule(index=(24.0, 52.0, 90.0), diameter_mm=18.0)
"""In the left lung: columns grow towards the patient's left in a standard axial slice."""


REPORT_TEMPLATE = "RF {number}[ {third}]: {mean}; {comment}"
"""Line of a reporting text, of a server with the option ``template``."""
SMALL_BYTES = 2**20
"""Largest upload of a server with the option ``small``."""


@cache
def chest() -> NDArray[np.int16]:
    """The volume that every series shows."""
    return add_ball(simple_chest(SLICES, SIDE, SIDE, SPACING_MM), SPACING_MM, NODULE)


def predictor_of(stored: StoredSeries, limits: DecodeLimits, *, has_models: bool) -> Predictor:
    """The predictor that answers."""
    if not has_models:
        return CannedPredictor()
    from inference.loading import load_models
    from lungnode.adapters.model_predictor import ModelPredictor

    return ModelPredictor(load_models(None, "cpu"), stored, limits)


def main(folder: Path, words: set[str]) -> None:
    """Serve until SIGTERM; prints the port once it is open."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    limits = DecodeLimits(scratch=folder)
    with ExitStack() as stack:
        database: Database = open_database(folder)
        stack.callback(database.dispose)
        store = stack.enter_context(InstanceStore(folder / "store", 0))
        stored = stack.enter_context(closing(StoredSeries(database, store, limits)))
        files = stack.enter_context(closing(ArchiveFiles(store, limits)))
        options = WebOptions(
            upload_images_root=folder / "evidence",
            auth_required="auth" in words,
            version="test",
            report_template=REPORT_TEMPLATE if "template" in words else "",
            max_upload_bytes=SMALL_BYTES if "small" in words else 256 * SMALL_BYTES,
        )
        app = create_app(
            database=database,
            predictor=predictor_of(stored, limits, has_models="models" in words),
            images=stored,
            files=files,
            intake=FixedIntake(),
            options=options,
        )
        server = make_server(app, "127.0.0.1", 0, options)
        print(json.dumps({"port": server.effective_port}), flush=True)
        server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), set(sys.argv[2:]))
