"""Demo PACS on loopback: sends a study by C-STORE and receives the results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicom_node.client.peer import (
    UNCOMPRESSED,
    NodeConnection,
    RemoteNode,
    ScuTimeouts,
    StoreOutcome,
    class_name,
    silence_library,
)
from dicom_node.encoding.transfer_syntaxes import RESULT_CLASSES, STORAGE_CLASSES
from lungnode.errors import CommandError

AE_TITLE = "REHEARSAL"


@dataclass(frozen=True, slots=True)
class StudyFile:
    """An instance to send."""

    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class Returned:
    """A received result object."""

    name: str
    study_instance_uid: str
    size_bytes: int


class RehearsalPacs:
    """Storage SCP for results, used as a context manager; ``port`` is chosen by the kernel."""

    def __init__(self) -> None:
        self._returned: dict[str, Returned] = {}
        self._lock = threading.Lock()
        self._server: Any = None
        self.port = 0

    def __enter__(self) -> RehearsalPacs:
        silence_library()
        ae = AE(AE_TITLE)
        ae.add_supported_context(Verification)
        for sop_class_uid in RESULT_CLASSES:
            ae.add_supported_context(sop_class_uid, list(UNCOMPRESSED))
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._on_store)])
        self.port = self._server.server_address[1]
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()

    def _on_store(self, event: Any) -> int:
        ds = event.dataset
        size = len(event.request.DataSet.getvalue())
        with self._lock:
            uid = str(ds.SOPInstanceUID)
            self._returned[uid] = Returned(class_name(ds.SOPClassUID), str(ds.StudyInstanceUID), size)
        return 0x0000

    def returned(self, study_instance_uid: str) -> list[Returned]:
        """Return the received objects of a study."""
        with self._lock:
            return [item for item in self._returned.values() if item.study_instance_uid == study_instance_uid]


def study_files(folder: Path) -> list[StudyFile]:
    """Return the images in a folder, recursively, that the node accepts.

    Raises
    ------
    CommandError
        There are none, or they belong to more than one study.
    """
    files = [file for path in sorted(folder.rglob("*")) if path.is_file() and (file := _read(path)) is not None]
    if not files:
        raise CommandError(f"--study {folder}: contains no DICOM CT images")
    studies = {file.study_instance_uid for file in files}
    if len(studies) > 1:
        raise CommandError(f"--study {folder}: contains {len(studies)} studies; specify a folder with one")
    return files


def _read(path: Path) -> StudyFile | None:
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "StudyInstanceUID"])
        sop_class_uid, study_instance_uid = str(ds.SOPClassUID), str(ds.StudyInstanceUID)
        transfer_syntax_uid = str(ds.file_meta.TransferSyntaxUID)
    except (InvalidDicomError, AttributeError, OSError, ValueError):
        return None
    if sop_class_uid not in STORAGE_CLASSES:
        return None
    return StudyFile(path, sop_class_uid, transfer_syntax_uid, study_instance_uid)


def push(node: RemoteNode, files: Sequence[StudyFile], progress: Callable[[int], None]) -> None:
    """Send a study by C-STORE; ``progress`` is called with the number of sent instances.

    Raises
    ------
    CommandError
        An instance was refused.
    NodeUnreachableError
        The association failed.
    """
    pairs = dict.fromkeys((file.sop_class_uid, file.transfer_syntax_uid) for file in files)
    contexts = [(sop_class_uid, [syntax]) for sop_class_uid, syntax in pairs]
    with NodeConnection(node, AE_TITLE, contexts, ScuTimeouts()) as connection:
        for number, file in enumerate(files, start=1):
            answer = connection.store(file.path)
            if answer.outcome is not StoreOutcome.STORED:
                raise CommandError(f"image {number} of {len(files)} was refused: {answer.reason}")
            progress(number)
