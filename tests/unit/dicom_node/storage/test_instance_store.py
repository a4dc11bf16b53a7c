from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from dicom_node.encoding.errors import InstanceTooLargeError, StorageFullError, StorageUnavailableError
from dicom_node.encoding.part10 import FileMeta
from dicom_node.storage import spool as spool_module
from dicom_node.storage.instance_store import InstanceStore, dataset_sha256
from tests.support.intake import CT, EXPLICIT, ct_dataset, encoded

META = FileMeta(CT, "1.2.3", EXPLICIT, "PACS")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[InstanceStore]:
    with InstanceStore(tmp_path / "store") as opened:
        yield opened


def test_what_is_written_is_a_file_that_others_read(store: InstanceStore) -> None:
    ds = ct_dataset()

    stored = store.write(FileMeta(CT, ds.SOPInstanceUID, EXPLICIT), encoded(ds), ds.SeriesInstanceUID)

    read = dcmread(store.absolute(stored.path))
    assert read.PatientID == ds.PatientID
    assert read.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert stored.size_bytes == store.absolute(stored.path).stat().st_size
    assert stored.sha256 == hashlib.sha256(encoded(ds)).hexdigest() == dataset_sha256(store.absolute(stored.path))


@given(st.text(max_size=80), st.text(max_size=80), st.binary(max_size=20))
def test_for_any_text_as_uid_the_path_stays_inside_and_does_not_contain_it(
    tmp_path_factory: pytest.TempPathFactory, series: str, instance: str, dataset: bytes
) -> None:
    instance = instance.encode("ascii", "replace").decode()
    with InstanceStore(tmp_path_factory.mktemp("store")) as store:
        stored = store.write(FileMeta(CT, instance, EXPLICIT), dataset, series)

        assert re.fullmatch(r"instances/[0-9a-f]{2}/[0-9a-f]{62}/[0-9a-f]{64}\.dcm", stored.path)
        assert store.absolute(stored.path).is_relative_to(store.root)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "instances/../../x"])
def test_a_path_that_leads_out_is_refused(store: InstanceStore, path: str) -> None:
    with pytest.raises(ValueError, match="out of the store"):
        store.absolute(path)


def test_a_link_that_leads_out_is_refused(store: InstanceStore) -> None:
    (store.root / "instances" / "link").symlink_to("/etc")

    with pytest.raises(ValueError, match="out of the store"):
        store.absolute("instances/link/passwd")


def test_other_content_under_the_same_uid_never_overwrites(store: InstanceStore) -> None:
    first = store.write(META, b"first", "1.2")
    second = store.write(META, b"other", "1.2")

    assert first.path != second.path
    assert store.absolute(first.path).read_bytes().endswith(b"first")


def test_writing_the_same_again_keeps_the_file_and_mends_a_damaged_one(store: InstanceStore) -> None:
    first = store.write(META, b"content!", "1.2")
    inode = store.absolute(first.path).stat().st_ino

    again = store.write(META, b"content!", "1.2")
    assert again == first
    assert store.absolute(first.path).stat().st_ino == inode

    store.absolute(first.path).write_bytes(b"rotten")
    assert store.write(META, b"content!", "1.2") == first
    assert dataset_sha256(store.absolute(first.path)) == first.sha256


def test_rot_is_seen(store: InstanceStore) -> None:
    stored = store.write(META, b"some content", "1.2")
    path = store.absolute(stored.path)
    content = bytearray(path.read_bytes())
    for at in (len(content) - 1, 140):
        content[at] ^= 1
        path.write_bytes(content)
        assert dataset_sha256(path) != stored.sha256


def test_a_discarded_instance_leaves_nothing(store: InstanceStore) -> None:
    spool = store.open_spool(META)
    spool.write(b"half")
    spool.discard()
    spool.discard()

    assert not [path for path in store.root.rglob("*") if path.is_file() and path.name != "lock"]


def test_an_instance_too_large_is_refused_while_it_arrives(store: InstanceStore) -> None:
    spool = store.open_spool(META, limit_bytes=10)
    spool.write(bytes(10))

    with pytest.raises(InstanceTooLargeError):
        spool.write(b"x")
    spool.discard()


def test_nothing_is_taken_when_the_disk_gets_full(tmp_path: Path) -> None:
    usage = os.statvfs(tmp_path)
    with (
        InstanceStore(tmp_path / "store", min_free_bytes=usage.f_blocks * usage.f_frsize + 1) as store,
        pytest.raises(StorageFullError),
    ):
        store.open_spool(META)


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFullError), (errno.EDQUOT, StorageFullError), (errno.EIO, StorageUnavailableError)],
)
def test_errors_of_the_disk_have_names(
    store: InstanceStore, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    spool = store.open_spool(META)

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(error):
            spool.write(bytes(2 << 20))
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_sync_content", fail)
        with pytest.raises(error):
            spool.sync()
    spool.discard()


def test_leftovers_of_a_dead_process_are_swept_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with InstanceStore(root) as living:
        spool = living.open_spool(META)
        spool.complete()
        dead = root / "incoming" / "0123456789abcdef"
        dead.mkdir()
        (dead / "lock").touch()
        (dead / "half.part").write_bytes(b"half")
        (root / "incoming" / "stray").write_bytes(b"")

        with InstanceStore(root):
            assert not dead.exists()
            assert not (root / "incoming" / "stray").exists()
            assert spool.path.exists()
        spool.discard()


def test_a_store_without_permission_says_so(tmp_path: Path) -> None:
    with InstanceStore(tmp_path / "store") as store:
        store._incoming.joinpath("lock").unlink()
        store._incoming.rmdir()

        with pytest.raises(StorageUnavailableError):
            store.write(META, b"content", "1.2")


def test_many_threads_write_into_new_folders_at_once(store: InstanceStore) -> None:
    def write(number: int) -> str:
        return store.write(FileMeta(CT, f"1.2.{number}", EXPLICIT), str(number).encode(), f"1.{number % 5}").path

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(write, range(60)))

    assert len(set(paths)) == 60
    assert all(store.absolute(path).is_file() for path in paths)
