"""Builds database, store, intake and decoding limits from the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from db.database import Database, open_audit_key
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.storage.files import Files
from dicom_node.storage.instance_store import InstanceStore
from lungnode.errors import CommandError
from lungnode.settings.service import Settings

if TYPE_CHECKING:
    from dicom_node.intake.instance_intake import Intake


def open_database(settings: Settings) -> Database:
    """Open the database; the schema must be current."""
    return Database(settings.database_url, open_audit_key(settings.database_url, settings.audit_key_path))


def open_store(settings: Settings) -> InstanceStore:
    """Open the instance store: a folder of HOME, or an object store cached in one."""
    return InstanceStore(stored_files(settings) or settings.store_root, settings.dicom.min_free_mb << 20)


def stored_files(settings: Settings) -> Files | None:
    """Connect to the object store of the settings, if any.

    Raises
    ------
    CommandError
        The extra ``s3`` is not installed.
    """
    if not settings.store.url:
        return None
    from dicom_node.storage.object_files import ObjectFiles, ObjectStoreAddress

    store = settings.store
    address = ObjectStoreAddress(store.url, store.endpoint_url, store.key, store.secret.get_secret_value())
    try:
        return ObjectFiles(
            settings.store_root, address, cache_bytes=store.cache_mb << 20, grace_s=settings.worker.timeout_s
        )
    except ImportError:
        raise CommandError("LUNGNODE_STORE__URL needs the extra s3: pip install 'lungnode[s3]'") from None


def scratch_folder(settings: Settings) -> Path:
    """Return the folder for temporary files of requests."""
    return settings.home / "scratch"


def decode_limits(settings: Settings) -> DecodeLimits:
    """Return the limits of the processes that decode untrusted files."""
    return DecodeLimits(
        memory_mb=settings.worker.memory_mb, timeout_s=settings.worker.timeout_s, scratch=scratch_folder(settings)
    )


def build_intake(settings: Settings, store: InstanceStore, database: Database) -> Intake:
    """Build the intake for instances from the network and uploads."""
    from dicom_node.intake.instance_intake import Intake, IntakeLimits

    return Intake(store, database, IntakeLimits(max_instance_bytes=settings.dicom.max_instance_mb << 20))
