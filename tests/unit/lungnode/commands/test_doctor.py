"""The doctor names what is wrong and what to do; what is fine is said as well."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from benchmarks.authority import issue, revocation_list
from db.database import load_or_create_audit_key
from db.engine.schema import upgrade
from db.monitoring import clock, faults
from lungnode.commands.context import open_database
from lungnode.commands.doctor import (
    Check,
    _audit_key,
    _clock,
    _database,
    _destinations,
    _disk,
    _home,
    _tls,
    parse_address,
    render,
)
from lungnode.errors import CommandError, FaultError
from lungnode.settings.dicom import Destination, DicomSettings, Peer, TlsSettings
from lungnode.settings.service import Settings
from tests.support.migrated import downgrade


@pytest.fixture
def node(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home")
    load_or_create_audit_key(settings.audit_key_path)
    upgrade(settings.database_url)
    return settings


def test_a_sound_node_has_no_faults(node: Settings) -> None:
    assert _home(node) == str(node.home)
    assert "MiB free" in _disk(node)
    assert "sqlite at revision" in _database(node)
    assert _audit_key(node) == str(node.audit_key_path)


def test_a_node_that_was_never_started_is_sound(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "new")
    texts = [check(settings) for check in (_home, _disk, _database, _audit_key, _clock)]
    assert sum("will be created" in text for text in texts) == 3
    assert not settings.home.exists()


@pytest.fixture
def with_tls(node: Settings) -> Settings:
    """A node with a certificate for a year."""
    folder, authority = node.home, trustme.CA()
    leaf = authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=365))
    leaf.cert_chain_pems[0].write_to_path(folder / "node.crt")
    leaf.private_key_pem.write_to_path(folder / "node.key")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    (folder / "node.key").chmod(0o600)
    tls = TlsSettings(certificate=folder / "node.crt", key=folder / "node.key", authority=folder / "ca.crt")
    return node.model_copy(update={"dicom": DicomSettings(tls=tls)})


def test_certificates_are_looked_at(with_tls: Settings) -> None:
    assert re.fullmatch(r"certificate until \d{4}-\d\d-\d\d, 36[45] days", _tls(with_tls))
    with_tls.home.joinpath("node.key").chmod(0o644)
    with pytest.raises(FaultError, match="chmod 600"):
        _tls(with_tls)
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(with_tls.home / "node.key")
    with pytest.raises(FaultError, match="key and certificate differ"):
        _tls(with_tls)
    with_tls.home.joinpath("ca.crt").unlink()
    with pytest.raises(FaultError):
        _tls(with_tls)


def test_a_certificate_that_ends_within_days_is_a_fault(with_tls: Settings) -> None:
    leaf = trustme.CA().issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=13))
    leaf.cert_chain_pems[0].write_to_path(with_tls.home / "node.crt")
    leaf.private_key_pem.write_to_path(with_tls.home / "node.key")
    with pytest.raises(FaultError, match="expires on"):
        _tls(with_tls)


def issue_list(path: Path, ends: timedelta) -> None:
    """Add an empty revocation list; the first to expire counts."""
    with path.open("ab") as file:
        file.write(revocation_list(issue("authority", is_authority=True), (), ends=ends))


def test_revocation_lists_and_peers_bound_to_their_certificate_are_reported(with_tls: Settings) -> None:
    lists = with_tls.home / "lists.pem"
    tls = with_tls.dicom.tls.model_copy(update={"revocations": lists})
    peers = (Peer(ae_title="PACS", certificate_names=("CN:pacs",)), Peer(ae_title="CT1"))
    settings = with_tls.model_copy(update={"dicom": DicomSettings(tls=tls, peers=peers)})
    with pytest.raises(FaultError, match="cannot be read"):
        _tls(settings)
    lists.write_text("no list")
    with pytest.raises(FaultError, match="not a valid PEM file"):
        _tls(settings)
    lists.write_text("")
    issue_list(lists, timedelta(days=5))
    expected = r".*, 36[45] days; revocation list until [-0-9 :]{16} UTC; 1 of 2 peers identified by certificate"
    assert re.fullmatch(expected, _tls(settings))
    for ends in (timedelta(hours=23), timedelta(hours=-1)):
        issue_list(lists, ends)
        with pytest.raises(FaultError, match="every peer is rejected from then on"):
            _tls(settings)


def test_a_destination_that_could_not_say_what_it_committed_is_a_fault() -> None:
    archive = Destination(ae_title="ARCHIVE", host="192.0.2.1", port=104, storage_commitment=True)

    def said(*peers: str, destination: Destination = archive) -> str:
        dicom = DicomSettings(peers=tuple(Peer(ae_title=name) for name in peers), destinations=(destination,))
        return _destinations(Settings(dicom=dicom))

    assert said() == said("ARCHIVE") == "ARCHIVE at 192.0.2.1:104"
    assert said("CT", destination=archive.model_copy(update={"storage_commitment": False}))
    with pytest.raises(FaultError, match="ARCHIVE cannot send storage commitment reports to this node"):
        said("CT")


def test_readable_secrets_are_found(node: Settings) -> None:
    node.audit_key_path.chmod(0o644)
    with pytest.raises(FaultError, match="chmod 600"):
        _audit_key(node)
    node.home.chmod(0o755)
    with pytest.raises(FaultError, match="chmod 700"):
        _home(node)


def test_a_full_disk_is_found(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, dicom=DicomSettings(min_free_mb=1 << 40))
    with pytest.raises(FaultError, match="instances are refused"):
        _disk(settings)


def test_an_old_database_is_found(node: Settings) -> None:
    downgrade(node.database_url, "base")
    with pytest.raises(FaultError, match="run `lungnode db upgrade`"):
        _database(node)


@pytest.mark.parametrize(
    ("days", "text"),
    [(0, ""), (0.5, ""), (370, "370 days ahead of"), (40, "40 days ahead of"), (-370, "370 days behind")],
)
def test_a_clock_that_jumped_is_found(node: Settings, monkeypatch: pytest.MonkeyPatch, days: float, text: str) -> None:
    moment = clock.read_clocks()
    with open_database(node) as database, database.begin() as session:
        assert clock.observe(session, moment) is None
    jumped = replace(moment, wall=moment.wall + timedelta(days=days))
    monkeypatch.setattr(clock, "read_clocks", lambda: jumped)
    if not text:
        assert "agrees" in _clock(node)
        return
    with pytest.raises(FaultError, match=text):
        _clock(node)
    with open_database(node) as database, database.read() as session:
        assert not faults.is_reported(session, faults.CLOCK)  # the doctor records nothing


def test_an_unreachable_database_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGNODE_DATABASE__URL", "postgresql+psycopg://lungnode:hunter2@127.0.0.1:1/lungnode")
    with pytest.raises(FaultError, match="check LUNGNODE_DATABASE__URL") as caught:
        _database(Settings())
    assert "hunter2" not in str(caught.value)


def test_addresses_are_read() -> None:
    address = parse_address("MY PACS@10.0.0.1:104")
    assert (address.ae_title, address.host, address.port) == ("MY PACS", "10.0.0.1", 104)
    assert parse_address("P@[::1]:104").host == "::1"


@pytest.mark.parametrize("text", ["", "PACS", "PACS@host", "@host:104", "PACS@host:0", "PACS@host:99999", "P\\S@h:1"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(CommandError, match="AE@HOST:PORT"):
        parse_address(text)


def test_the_table_counts_failures() -> None:
    table = render((Check("home", True, "fine"), Check("database", False, "gone")))
    assert table.splitlines() == [
        "ok      home      fine",
        "FAILED  database  gone",
        "1 of 2 checks failed",
    ]
    assert render((Check("home", True, "fine"),)).endswith("all 1 checks passed")
