"""Files in an S3-compatible store: durable once persisted, read by any host, cached within a bound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from db.analyses.promotions import PromotedBundle
from db.database import Database
from db.domain.models import ModelIdentity
from db.engine.schema import upgrade
from db.monitoring.clock import Clocks, read_clocks
from db.studies.instances import receiving_series, series_instances, series_record
from dicom_node.encoding.part10 import read_file_meta
from dicom_node.encoding.status import Status
from dicom_node.intake.instance_intake import Announced, Intake, Sender
from dicom_node.intake.reindex import reindex
from dicom_node.storage.files import StoreUnreachableError
from dicom_node.storage.instance_store import InstanceStore, dataset_sha256
from dicom_node.storage.object_files import ObjectFiles, ObjectStoreAddress
from dicom_node.storage.purge import Purge
from inference.bundle import SHIPPED, read_bundle
from lungnode.adapters.archive_files import SharedPictures
from lungnode.adapters.live_model import checked, keep_bundle, located
from tests.support.factories import ct_series, sqlite_database
from tests.support.intake import receive_instance
from tests.support.object_store import object_store
from webapp.http.errors import UnfitInputError
from webapp.services import upload_images
from webapp.services.upload_images import UploadImages

SENDER = Sender("PACS", "127.0.0.1")


@pytest.fixture(scope="module")
def address() -> Iterator[ObjectStoreAddress]:
    with object_store() as running:
        yield running


@pytest.fixture
def bucket(address: ObjectStoreAddress, request: pytest.FixtureRequest) -> ObjectStoreAddress:
    """A prefix of its own for each test."""
    url = f"{address.url}/{request.node.name}"
    return ObjectStoreAddress(url, address.endpoint_url, address.key, address.secret)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    upgrade(url)
    database = Database(url, bytes(range(32)))
    yield database
    database.dispose()


def write(files: ObjectFiles, path: str, content: bytes) -> None:
    (files.root / path).parent.mkdir(parents=True, exist_ok=True)
    (files.root / path).write_bytes(content)


def test_a_promoted_bundle_is_on_every_host(tmp_path: Path, bucket: ObjectStoreAddress) -> None:
    here, there = ObjectFiles(tmp_path / "here", bucket), ObjectFiles(tmp_path / "there", bucket)
    sha256 = read_bundle(SHIPPED / "filter").sha256
    files = keep_bundle(here, SHIPPED / "filter", sha256)
    located_bundle = located(there, PromotedBundle(ModelIdentity("filter", "1", sha256), sha256, files))
    assert located_bundle.folder.is_relative_to(tmp_path / "there")
    assert checked(located_bundle) == located_bundle.folder


def test_any_web_shows_the_pictures_of_an_upload_and_forgets_the_oldest_for_all(
    tmp_path: Path, bucket: ObjectStoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_images, "_SLACK", 0)
    webs = [ObjectFiles(tmp_path / name, bucket) for name in ("here", "there", "elsewhere")]
    here, there, elsewhere = (UploadImages(files.root / "evidence", 1, SharedPictures(files)) for files in webs)
    here.save("a" * 32, b"image", b"attention")
    assert there.has("a" * 32, "image")
    assert there.load("a" * 32, "attention") == b"attention"
    assert there.load("b" * 32, "image") is None
    for path in (webs[0].root / "evidence").iterdir():
        os.utime(path, (0, 0))
    here.save("b" * 32, b"image", b"attention")
    assert not elsewhere.has("a" * 32, "image")
    assert elsewhere.load("b" * 32, "image") == b"image"


def test_pictures_that_cannot_be_shared_are_refused_in_words(tmp_path: Path, bucket: ObjectStoreAddress) -> None:
    files = ObjectFiles(
        tmp_path / "here", ObjectStoreAddress(bucket.url, "http://127.0.0.1:9", bucket.key, bucket.secret)
    )
    folder = UploadImages(files.root / "evidence", 1, SharedPictures(files))
    with pytest.raises(UnfitInputError, match="image store does not answer"):
        folder.save("a" * 32, b"image", None)


def send(intake: Intake, path: Path) -> Status:
    content = path.read_bytes()
    meta, start = read_file_meta(content)
    announced = Announced(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid)
    return receive_instance(intake, announced, content[start:], SENDER).status


def test_what_one_host_acknowledges_another_reads(
    tmp_path: Path, bucket: ObjectStoreAddress, database: Database
) -> None:
    series = ct_series(tmp_path / "series", n=4, rows=16)
    with InstanceStore(ObjectFiles(tmp_path / "one", bucket)) as here:
        assert [send(Intake(here, database), path) for path in series.paths] == [Status.SUCCESS] * 4
    with database.read() as session:
        record = series_record(session, series_instance_uid=series.series_instance_uid)
        assert record is not None
        instances = series_instances(session, record.id)
    elsewhere = ObjectFiles(tmp_path / "two", bucket)
    paths = elsewhere.fetch([instance.path for instance in instances])
    assert [dataset_sha256(path) for path in paths] == [instance.sha256 for instance in instances]


def test_what_is_kept_is_listed_and_taken_up_from_another_host(
    tmp_path: Path, bucket: ObjectStoreAddress, database: Database
) -> None:
    series, lost = ct_series(tmp_path / "series", n=3, rows=16), sqlite_database(tmp_path / "lost")
    with InstanceStore(ObjectFiles(tmp_path / "one", bucket)) as here:
        assert [send(Intake(here, lost), path) for path in series.paths] == [Status.SUCCESS] * 3
    lost.dispose()
    with InstanceStore(ObjectFiles(tmp_path / "two", bucket)) as there:
        assert len(list(there.files.instances())) == 3
        assert [entry.is_new for entry in reindex(database, there, Intake(there, database))] == [True] * 3


def test_nothing_is_acknowledged_while_the_store_does_not_answer(tmp_path: Path, database: Database) -> None:
    series = ct_series(tmp_path / "series", n=2, rows=16)
    nowhere = ObjectStoreAddress("s3://images/x", "http://127.0.0.1:9", "k", "s")
    with InstanceStore(ObjectFiles(tmp_path / "one", nowhere)) as store:
        assert send(Intake(store, database), series.paths[0]) is Status.OUT_OF_RESOURCES
    with database.read() as session:
        assert receiving_series(session) == ()


def test_a_store_that_does_not_answer_is_no_missing_file(tmp_path: Path) -> None:
    files = ObjectFiles(tmp_path, ObjectStoreAddress("s3://images/x", "http://127.0.0.1:9", "k", "s"))
    with pytest.raises(StoreUnreachableError):
        files.fetch(["instances/ab/c.dcm"])


def test_what_was_never_kept_is_not_there(tmp_path: Path, bucket: ObjectStoreAddress) -> None:
    files = ObjectFiles(tmp_path, bucket)
    (missing,) = files.fetch(["instances/ab/c.dcm"])
    assert not missing.exists()
    assert not files.exists("instances/ab/c.dcm")


def test_a_result_that_is_kept_is_never_replaced(tmp_path: Path, bucket: ObjectStoreAddress) -> None:
    one, two = ObjectFiles(tmp_path / "one", bucket), ObjectFiles(tmp_path / "two", bucket)
    write(one, "results/ab/c.dcm", b"first")
    one.persist(["results/ab/c.dcm"], once=True)
    write(two, "results/ab/c.dcm", b"second")
    two.persist(["results/ab/c.dcm"], once=True)
    assert (two.root / "results/ab/c.dcm").read_bytes() == b"first"


def test_the_cache_stays_within_its_bound_but_for_what_is_in_use(tmp_path: Path, bucket: ObjectStoreAddress) -> None:
    files = ObjectFiles(tmp_path, bucket, cache_bytes=10_000, grace_s=100)
    paths = [f"instances/ab/{number}.dcm" for number in range(12)]
    for number, path in enumerate(paths):
        write(files, path, bytes(1000))
        files.persist([path])
        if number < 6:  # used long ago
            os.utime(files.root / path, (number + 1, number + 1))
    held = [path for path in paths if (files.root / path).exists()]
    assert sum((files.root / path).stat().st_size for path in held) <= 10_000
    assert held[-6:] == paths[-6:]
    assert [path.read_bytes() for path in files.fetch(paths)] == [bytes(1000)] * 12


@pytest.mark.parametrize("path", ["../audit.key", "/etc/passwd", "instances/../../x"])
def test_no_path_leads_out_of_the_store(tmp_path: Path, bucket: ObjectStoreAddress, path: str) -> None:
    with pytest.raises(ValueError, match="out of the store"):
        ObjectFiles(tmp_path / "here", bucket).fetch([path])


def test_purged_studies_leave_the_store_and_what_is_resent_stays(
    tmp_path: Path, bucket: ObjectStoreAddress, database: Database
) -> None:
    old, resent = (ct_series(tmp_path / name, n=2, rows=16, seed=seed) for name, seed in (("old", 1), ("kept", 1)))
    now = read_clocks()

    def after(days: float) -> Clocks:
        """Clocks that all ran on by so many days."""
        moved = timedelta(days=days)
        return lambda: replace(now, wall=now.wall + moved, uptime_s=now.uptime_s + moved.total_seconds())

    files = ObjectFiles(tmp_path / "one", bucket)
    with InstanceStore(files) as store:
        intake = Intake(store, database)
        for path in old.paths:
            send(intake, path)
        purge = Purge(database, store, timedelta(days=1), grace=timedelta(seconds=1), clocks=after(2))
        with database.begin() as session:  # nothing is owed any more
            session.execute(text("UPDATE studies SET state = 'not_analysed'"))
            session.execute(text("UPDATE series SET state = 'not_analysed'"))
        assert purge.run().study_count == 1
        assert send(intake, resent.paths[0]) is Status.SUCCESS
        with database.read() as session:
            (record,) = receiving_series(session)
            (instance,) = series_instances(session, record.id)
        Purge(database, store, timedelta(days=10), clocks=after(2.1)).run()
        assert files.exists(instance.path)
        remote, prefix = bucket.open()
        assert list(remote.find(prefix)) == [f"{prefix}/{instance.path}"]
