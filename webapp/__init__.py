"""Web pages and HTTP API of lungnode."""

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
    """Create the Flask app. It opens no socket, starts no thread and reads no environment.

    Parameters
    ----------
    database
        The database, migrated to the latest schema.
    predictor
        Answers uploads and clicks.
    images
        Slices of stored studies in anatomical order, with their geometry.
    files
        Stored instances as bytes, for DICOMweb.
    intake
        Stores uploaded DICOM instances and zips.
    options
        Everything else; ``upload_images_root`` is created if missing.
    pictures
        Shared storage of upload images for web processes on other hosts; its folder contains ``upload_images_root``.
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
