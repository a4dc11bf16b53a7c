"""Intake of uploads and STOW-RS requests: implements ``webapp.ports.StudyIntake``."""

from __future__ import annotations

from mmap import mmap

from dicom_node.encoding.errors import ZipRefusedError
from dicom_node.intake.instance_intake import Intake, Sender
from dicom_node.intake.part10_intake import Part10Reception
from dicom_node.intake.zip_intake import WEB, store_zip
from webapp.http.errors import UnfitInputError
from webapp.ports import AcceptedStudy, InstanceOutcome, LeftOutFiles


class WebIntake:
    """The intake behind the web's port; thread-safe."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def store_zip(self, content: bytes | mmap, *, actor: str) -> AcceptedStudy:
        """See ``StudyIntake``."""
        try:
            stored = store_zip(content, self._intake, actor=actor)
        except ZipRefusedError as refusal:
            raise UnfitInputError(refusal.http_status, refusal.code.replace("-", "_"), refusal.text) from None
        return AcceptedStudy(
            stored.study_instance_uid,
            accepted=stored.stored + stored.duplicates,
            already_stored=stored.duplicates,
            left_out=tuple(LeftOutFiles(files.kind.value, files.count, files.text) for files in stored.left_out),
        )

    def open_instance(self, *, actor: str, study_instance_uid: str) -> PostedInstance:
        """See ``StudyIntake``."""
        return PostedInstance(Part10Reception(self._intake, Sender(WEB, actor), study_instance_uid))


class PostedInstance:
    """Implements ``webapp.ports.InstanceReception``."""

    def __init__(self, reception: Part10Reception) -> None:
        self._reception = reception

    def write(self, piece: memoryview | bytes) -> None:
        """See ``InstanceReception``."""
        self._reception.write(piece)

    def finish(self) -> InstanceOutcome:
        """See ``InstanceReception``."""
        result = self._reception.finish()
        reason = 0 if result.verdict.is_stored else int(result.verdict.status)
        return InstanceOutcome(result.sop_class_uid, result.sop_instance_uid, result.verdict.is_stored, reason)

    def abandon(self) -> None:
        """See ``InstanceReception``."""
        self._reception.abandon()
