"""Intake of one PS3.10 file from the web, through the same intake as datasets from the network."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.encoding.errors import InstanceError, TruncatedDatasetError
from dicom_node.encoding.part10 import read_file_meta
from dicom_node.intake.instance_intake import Announced, Intake, IntakeVerdict, Reception, Sender

_META_BYTES = 1 << 17
"""File meta information is shorter; a longer one is refused."""


@dataclass(frozen=True, slots=True)
class Part10Outcome:
    """Outcome of a file; UIDs are empty where it does not contain them."""

    sop_class_uid: str
    sop_instance_uid: str
    verdict: IntakeVerdict


class Part10Reception:
    """One file being received; ended by ``finish`` or ``abandon``.

    Parameters
    ----------
    study_instance_uid
        The study that it has to belong to; empty for any.
    """

    def __init__(self, intake: Intake, sender: Sender, study_instance_uid: str = "") -> None:
        self._intake, self._sender, self._study = intake, sender, study_instance_uid
        self._head = bytearray()
        self._announced: Announced | None = None
        self._reception: Reception | None = None
        self._error: InstanceError | None = None

    def write(self, piece: memoryview | bytes) -> None:
        """Append a piece of the file."""
        if self._reception is not None:
            self._reception.write(piece)
        elif self._error is None:
            self._head += piece
            self._begin(is_last=False)

    def finish(self) -> Part10Outcome:
        """Make the instance durable and return the outcome."""
        if self._reception is None and self._error is None:
            self._begin(is_last=True)
        if self._reception is not None:
            verdict = self._reception.finish()
        else:
            verdict = self._intake.refuse(self._error or TruncatedDatasetError(len(self._head)), self._sender)
        announced = self._announced
        return Part10Outcome(
            announced.sop_class_uid if announced else "", announced.sop_instance_uid if announced else "", verdict
        )

    def abandon(self) -> None:
        """Discard the received data."""
        if self._reception is not None:
            self._reception.abandon()

    def _begin(self, *, is_last: bool) -> None:
        """Start the dataset once the file meta information is complete."""
        try:
            meta, offset = read_file_meta(bytes(self._head))
        except InstanceError as error:
            is_short = isinstance(error, TruncatedDatasetError) or len(self._head) < 132
            if is_last or not is_short or len(self._head) > _META_BYTES:
                self._error = error
                self._head.clear()
            return
        self._announced = Announced(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, self._study)
        self._reception = self._intake.begin(self._announced, self._sender)
        self._reception.write(bytes(self._head[offset:]))
        self._head.clear()
