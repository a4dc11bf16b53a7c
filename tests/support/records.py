"""Records that tests write and read back one by one, where the product does so in batches."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.domain.deliveries import DeliveryRecord
from db.domain.studies import InstanceRecord, ReceivedInstance, StoreVerdict
from db.intake.ingest import record_instances
from db.results.deliveries import delivery_of_row
from db.studies.instances import instance_of_row
from db.tables.exchange import DeliveryRow
from db.tables.studies import InstanceRow


def record_instance(session: Session, instance: ReceivedInstance) -> StoreVerdict:
    """Index one instance; see ``record_instances``."""
    return record_instances(session, [instance])[0]


def instance_record(session: Session, sop_instance_uid: str) -> InstanceRecord | None:
    """Return the instance of that UID, or None."""
    row = session.scalars(select(InstanceRow).where(InstanceRow.sop_instance_uid == sop_instance_uid)).one_or_none()
    return instance_of_row(row) if row else None


def delivery_record(session: Session, delivery_id: str) -> DeliveryRecord | None:
    """Return the delivery of that id, or None."""
    row = session.get(DeliveryRow, delivery_id)
    return delivery_of_row(row) if row else None
