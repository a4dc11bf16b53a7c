"""A web server of its own for browser tests: real waitress, real database, a drawn chest for every series."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from db.engine import Database
from db.studies import series_instances, series_record
from tests.factories import SimpleNodule, add_ball, simple_chest
from tests.unit.webapp.doubles import CannedPredictor, FixedIntake, NoFiles, VolumeImages, open_database
from webapp import create_app
from webapp.options import WebOptions
from webapp.ports import SliceReference
from webapp.server import make_server

SLICES, SIDE = 40, 128
SPACING_MM = (6.0, 2.66, 2.66)
NODULE = SimpleNodule(index=(24.0, 52.0, 90.0), diameter_mm=18.0)
"""In the left lung: columns grow towards the patient's left in a standard axial slice."""


def chest() -> NDArray[np.int16]:
    """The volume that every series shows."""
    return add_ball(simple_chest(SLICES, SIDE, SIDE, SPACING_MM), SPACING_MM, NODULE)


class ChestImages(VolumeImages):
    """Shows the chest for every series of the database that has as many instances."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._volume = chest()

    def slices(self, study_instance_uid: str, series_instance_uid: str) -> tuple[SliceReference, ...]:
        """See ``StudyImages``."""
        self._learn(study_instance_uid, series_instance_uid)
        return super().slices(study_instance_uid, series_instance_uid)

    def _learn(self, study_instance_uid: str, series_instance_uid: str) -> None:
        with self._database.read() as session:
            series = series_record(session, series_instance_uid=series_instance_uid)
            if series is None or series.study_instance_uid != study_instance_uid or series.instance_count != SLICES:
                return
            instances = sorted(series_instances(session, series.id), key=lambda record: record.instance_number or 0)
        uids = tuple(instance.sop_instance_uid for instance in instances)
        self.volumes[study_instance_uid, series_instance_uid] = (self._volume, uids, SPACING_MM)


def main(folder: Path, *, auth_required: bool) -> None:
    """Serve until killed; prints the port once it is open."""
    database = open_database(folder)
    options = WebOptions(evidence_root=folder / "evidence", auth_required=auth_required, version="test")
    app = create_app(
        database=database,
        predictor=CannedPredictor(),
        images=ChestImages(database),
        files=NoFiles(),
        intake=FixedIntake(),
        options=options,
    )
    server = make_server(app, "127.0.0.1", 0, options)
    print(json.dumps({"port": server.effective_port}), flush=True)
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), auth_required="auth" in sys.argv[2:])
