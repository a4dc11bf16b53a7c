"""Pages and API of lungnode: a Flask app that is given its predictor, images, intake and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from db.database import Database
    from webapp.options import WebOptions
    from webapp.ports import Predictor, SharedFiles, StoredFiles, StudyImages, StudyIntake


def create_app(
    *,
    database: Database,
    predictor: Predictor,
    images: StudyImages,
    files: StoredFiles,
    intake: StudyIntake,
    options: WebOptions,
    pictures: SharedFiles | None = None,
) -> Flask:
    """Make the app. It opens no socket, starts no thread and reads no environment.

    Parameters
    ----------
    database
        Records, migrated to the latest schema.
    predictor
        Answers uploads and clicks.
    images
        Slices of stored studies in order, with their places.
    files
        Stored instances as bytes, for DICOMweb.
    intake
        Takes a zip of a DICOM series.
    options
        Everything else; ``upload_images_root`` is made if it is not there.
    pictures
        Where the pictures of uploads are kept for webs on other hosts, too; ``upload_images_root`` lies in its folder.
    """
    from webapp.assembly import assemble  # here, so that importing a port of this package loads no Flask

    return assemble(
        database=database,
        predictor=predictor,
        images=images,
        files=files,
        intake=intake,
        options=options,
        pictures=pictures,
    )
