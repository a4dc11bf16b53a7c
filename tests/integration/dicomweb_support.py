"""A web server over real stored files, and the client of another project to ask it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dicomweb_client.api import DICOMwebClient

from db.engine import Database
from dicom_node.decode_process import DecodeLimits
from dicom_node.intake import Intake
from dicom_node.store import InstanceStore
from lungnode.archive_files import ArchiveFiles
from lungnode.web_intake import WebIntake
from tests.factories import sqlite_database
from tests.unit.webapp.doubles import CannedPredictor, VolumeImages
from webapp import create_app
from webapp.options import WebOptions
from webapp.server import make_server


@dataclass(frozen=True)
class Archive:
    """A running server with what it serves."""

    url: str
    database: Database
    store: InstanceStore

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(self.url)


@contextmanager
def serving(folder: Path) -> Iterator[Archive]:
    """Serve an empty archive from a folder, sign-in off."""
    database, store = sqlite_database(folder), InstanceStore(folder / "store")
    files = ArchiveFiles(store, DecodeLimits(scratch=folder))
    options = WebOptions(evidence_root=folder / "evidence", auth_required=False)
    app = create_app(
        database=database,
        predictor=CannedPredictor(),
        images=VolumeImages(),
        files=files,
        intake=WebIntake(Intake(store, database)),
        options=options,
    )
    server = make_server(app, "127.0.0.1", 0, options)
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield Archive(f"http://127.0.0.1:{server.effective_port}/dicom-web", database, store)
    finally:
        server.close()
        files.close()
        store.close()
        database.dispose()
