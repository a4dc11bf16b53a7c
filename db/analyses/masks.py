"""Measured masks of findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.domain.errors import DamagedRecordError, InvalidRecordError
from db.domain.findings import FindingRecord
from db.domain.masks import FindingMask, MaskSlice, axes_json, axes_of_json
from db.engine.session import required
from db.studies.lifecycle import shown_findings, study_id_of
from db.tables.analyses import FindingMaskRow, FindingRow
from db.tables.studies import InstanceRow

BATCH_SIZE = 500
"""Ids in one IN, fewer than databases allow."""


def add_mask(session: Session, finding: FindingRow, mask: FindingMask) -> None:
    """Insert the mask of a finding that is recorded in this transaction.

    Raises
    ------
    UnknownRecordError
        If a slice is of no instance of the finding's series.
    """
    uids = {one.sop_instance_uid for one in mask.slices}
    own = select(InstanceRow.sop_instance_uid, InstanceRow.id).where(InstanceRow.series_id == finding.series_id)
    ids = {
        uid: instance_id
        for part in _batches(sorted(uids))
        for uid, instance_id in session.execute(own.where(InstanceRow.sop_instance_uid.in_(part)))
    }
    session.add(
        FindingMaskRow(
            finding_id=finding.id,
            row_px=mask.row,
            column_px=mask.column,
            row_count=mask.rows,
            column_count=mask.columns,
            slices=[
                [required(ids.get(one.sop_instance_uid), "instance in this series"), one.frame_number]
                for one in mask.slices
            ],
            runs=list(mask.runs),
            axes=axes_json(mask.axes),
        )
    )


def masks_of_study(session: Session, study_instance_uid: str) -> dict[str, FindingMask]:
    """Return the masks of a study's shown findings by the finding's id.

    Raises
    ------
    UnknownRecordError
        If the study does not exist.
    DamagedRecordError
        A stored mask is invalid.
    """
    study_id = study_id_of(session, study_instance_uid)
    return masks_of_findings(session, [row.id for row in session.scalars(shown_findings(study_id))])


def with_masks(session: Session, records: Sequence[FindingRecord]) -> tuple[FindingRecord, ...]:
    """Return findings with their masks, where they have one.

    Raises
    ------
    DamagedRecordError
        A stored mask is invalid.
    """
    masks = masks_of_findings(session, [record.id for record in records])
    return tuple(replace(record, finding=replace(record.finding, mask=masks.get(record.id))) for record in records)


def masks_of_findings(session: Session, finding_ids: Sequence[str]) -> dict[str, FindingMask]:
    """Return the masks of findings by the finding's id, in the order given.

    Raises
    ------
    DamagedRecordError
        A stored mask is invalid.
    """
    rows: dict[str, FindingMaskRow] = {}
    for part in _batches(finding_ids):
        statement = select(FindingMaskRow).where(FindingMaskRow.finding_id.in_(part))
        rows.update({row.finding_id: row for row in session.scalars(statement)})
    slices = {row.finding_id: _slice_pairs(row.slices) for row in rows.values()}
    instance_ids = sorted({instance_id for pairs in slices.values() for instance_id, _ in pairs})
    uids = {
        instance_id: uid
        for part in _batches(instance_ids)
        for instance_id, uid in session.execute(
            select(InstanceRow.id, InstanceRow.sop_instance_uid).where(InstanceRow.id.in_(part))
        )
    }
    return {name: _mask(rows[name], slices[name], uids) for name in finding_ids if name in rows}


def _mask(row: FindingMaskRow, slices: Sequence[tuple[str, int]], uids: dict[str, str]) -> FindingMask:
    if not isinstance(row.runs, list):
        raise DamagedRecordError("mask")
    try:
        return FindingMask(
            slices=tuple(MaskSlice(uids.get(instance_id, ""), number) for instance_id, number in slices),
            row=row.row_px,
            column=row.column_px,
            rows=row.row_count,
            columns=row.column_count,
            runs=tuple(row.runs),
            axes=axes_of_json(row.axes),
        )
    except InvalidRecordError as error:
        raise DamagedRecordError("mask") from error


def _slice_pairs(value: object) -> list[tuple[str, int]]:
    pairs: list[tuple[str, int]] = []
    for pair in value if isinstance(value, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise DamagedRecordError("mask")
        pairs.append((pair[0], pair[1]))
    return pairs


def _batches(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), BATCH_SIZE):
        yield values[start : start + BATCH_SIZE]
