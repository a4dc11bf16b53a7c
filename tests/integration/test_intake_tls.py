"""TLS on the DICOM port: accepted and rejected peers, and slow handshakes that block no others."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pynetdicom import build_context

from benchmarks.receivers import path_without_ours
from db.audit import trail as audit
from dicom_node.client.peer import RemoteNode, ScuTimeouts, echo
from dicom_node.client.scu_association import RequestingEntity
from dicom_node.port.acceptor import AcceptorLimits
from dicom_node.port.access import PeerRule
from dicom_node.port.certificate_identity import CertificateRule
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.port.tls import ServerTls, TlsFiles, revocation_expiry
from lungnode.commands.healthcheck import is_up
from lungnode.settings.dicom import Destination, DicomSettings, Peer, TlsSettings
from lungnode.settings.service import Settings
from lungnode.wiring import nodes as wiring_nodes
from lungnode.wiring import port as wiring_port
from tests.support.intake import CT, EXPLICIT, ct_dataset, listening, part10, running_node
from tests.support.service import until

pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),  # sockets left by pynetdicom's client
]


ALERT = r"(?i)alert|ssl|revoked"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    subject = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
    openssl(folder, "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *subject)


def certificate(
    folder: Path, name: str, issuer: str, *, usage: str = "serverAuth,clientAuth", days: str = "30"
) -> None:
    subject = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"]
    openssl(folder, "req", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *subject)
    (folder / "extensions").write_text(f"subjectAltName=DNS:localhost\nextendedKeyUsage={usage}\n")
    signing = ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key", "-CAcreateserial", "-extfile", "extensions"]
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", "-days", days, *signing)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority(folder, "authority")
    authority(folder, "other-authority")
    certificate(folder, "node", "authority")
    certificate(folder, "pacs", "authority")
    certificate(folder, "server-only", "authority", usage="serverAuth")
    certificate(folder, "expired", "authority", days="-1")
    certificate(folder, "other", "other-authority")
    certificate(folder, "second", "authority")
    return folder


@pytest.fixture
def listener(tmp_path: Path, certificates: Path) -> Iterator[Listener]:
    files = TlsFiles(certificates / "node.crt", certificates / "node.key", certificates / "authority.crt")
    limits = AcceptorLimits(timeout_s=2)
    settings = ListenerSettings(port=0, timeout_s=5, max_associations=4, acceptor=limits, tls=ServerTls(files))
    with running_node(tmp_path) as node, listening(node, settings) as opened:
        yield opened


def client(certificates: Path, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates / "authority.crt"))
    if name:
        context.load_cert_chain(certificates / f"{name}.crt", certificates / f"{name}.key")
    return context


def store(listener: Listener, context: ssl.SSLContext | None, number: int = 1, calling: str = "PACS") -> int:
    """Status of a C-STORE, or -1 where no association came about."""
    ae = RequestingEntity(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 10
    ae.requested_contexts = [build_context(CT, EXPLICIT)]
    tls = (context, "localhost") if context else None
    association = ae.associate("127.0.0.1", listener.port, ae_title="LUNGNODE", tls_args=tls)
    if not association.is_established:
        del association
        gc.collect()
        return -1
    ds = ct_dataset(number, rows=256)
    part10(ds)
    status = association.send_c_store(ds).get("Status", -2)
    association.release()
    return status


def test_a_peer_of_our_authority_stores(listener: Listener, certificates: Path) -> None:
    assert [store(listener, client(certificates, "pacs"), number) for number in range(3)] == [0, 0, 0]


def test_a_listener_is_healthy_while_it_shakes_hands(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port alone proves nothing: it stays open when those behind it are gone."""
    status = {
        "supervisor_pid": os.getpid(),
        "host": "127.0.0.1",
        "port": listener.port,
        "ae_title": "LUNGNODE",
        "tls": 1,
    }
    (tmp_path / "dicom.json").write_text(json.dumps(status))
    assert is_up(tmp_path, "dicom")
    monkeypatch.setattr("lungnode.commands.healthcheck.TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        (tmp_path / "dicom.json").write_text(json.dumps(status | {"port": closed.getsockname()[1]}))
        assert not is_up(tmp_path, "dicom")


@pytest.mark.parametrize("name", [None, "other", "expired", "server-only"])
def test_other_certificates_are_rejected(listener: Listener, certificates: Path, name: str | None) -> None:
    assert store(listener, client(certificates, name)) == -1
    assert store(listener, client(certificates, "pacs")) == 0


def test_plain_connections_are_refused(listener: Listener) -> None:
    assert store(listener, None) == -1
    until(lambda: listener.counters.value("connections_closed", "tls"), lambda count: count == 1)


def test_why_a_handshake_failed_is_logged_and_who_looks_whether_the_port_is_open_is_not(
    listener: Listener, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    socket.create_connection(("127.0.0.1", listener.port)).close()
    store(listener, client(certificates, "expired"))
    store(listener, client(certificates, None))
    assert store(listener, client(certificates, "pacs")) == 0
    reason_codes = [
        record.__dict__["reason_code"] for record in caplog.records if record.msg == "association:tls_refused"
    ]
    assert reason_codes == ["certificate_has_expired", "peer_did_not_return_a_certificate"]


VERSIONS = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.mark.parametrize("version", VERSIONS, ids=[version.name for version in VERSIONS])
@pytest.mark.parametrize("name", ["pacs", None, "other", "expired", "server-only"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_only_a_good_certificate_and_a_current_protocol_get_in(
    listener: Listener, certificates: Path, name: str | None, version: ssl.TLSVersion
) -> None:
    """C2: {good, none, another authority's, expired, for another use} x {TLS 1.0, 1.1, 1.2, 1.3}."""
    from tests.endurance.test_intake_hostile_peers import associate_rq

    context = client(certificates, name)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    answer = b""
    with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(associate_rq())
                answer = connection.recv(10)
        except OSError:
            pass

    assert bool(answer) == (name == "pacs" and version >= ssl.TLSVersion.TLSv1_2)


def without_forward_secrecy(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")


@pytest.mark.parametrize(
    "weaken",
    [
        lambda context: setattr(context, "maximum_version", ssl.TLSVersion.TLSv1_1),
        without_forward_secrecy,
    ],
    ids=["TLS 1.1", "no forward secrecy"],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_weak_encryption_is_refused(
    listener: Listener, certificates: Path, weaken: Callable[[ssl.SSLContext], object]
) -> None:
    context = client(certificates, "pacs")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    weaken(context)
    with socket.create_connection(("127.0.0.1", listener.port)) as plain, pytest.raises(OSError, match=ALERT):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize(
    "words", [b"", b"\x16", b"\x16\3\1\2\0\1\0\1\xfc\3\3"], ids=["silence", "a byte", "half a hello"]
)
def test_unfinished_handshakes_delay_no_peer(listener: Listener, certificates: Path, words: bytes) -> None:
    with ExitStack() as stack:
        silent = []
        for _ in range(50):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", listener.port)))
            connection.sendall(words)
            silent.append(connection)
        assert store(listener, client(certificates, "pacs")) == 0
        for connection in silent:
            connection.settimeout(20)
            try:
                while connection.recv(100):
                    pass
            except ConnectionResetError:
                continue


def test_idle_tls_associations_give_way(listener: Listener, certificates: Path) -> None:
    from tests.endurance.test_intake_hostile_peers import associate_rq

    with ExitStack() as stack:
        for _ in range(8):
            plain = socket.create_connection(("127.0.0.1", listener.port))
            connection = stack.enter_context(
                client(certificates, "pacs").wrap_socket(plain, server_hostname="localhost")
            )
            connection.sendall(associate_rq())
            assert connection.recv(100)[:1] == b"\2"
        assert store(listener, client(certificates, "pacs")) == 0


def revocation_list(folder: Path, name: str, *, revoked: str = "", days: str = "30") -> Path:
    """Issue a CRL of the authority ``name``, which also holds earlier revocations."""
    (folder / f"{name}.cnf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={name}.index\nserial=number\nnew_certs_dir=.\ndefault_md=sha256\n"
        f"policy=p\nprivate_key={name}.key\ncertificate={name}.crt\n[p]\ncommonName=supplied\n"
    )
    (folder / f"{name}.index").touch()
    ca = ["ca", "-batch", "-config", f"{name}.cnf"]
    if revoked:
        openssl(folder, *ca, "-revoke", f"{revoked}.crt")
    ends = ["-crldays", days] if days != "0" else ["-crlsec", "1"]
    openssl(folder, *ca, "-gencrl", *ends, "-out", f"{name}.new")
    (folder / f"{name}.new").replace(folder / f"{name}.crl")
    return folder / f"{name}.crl"


@pytest.fixture
def own_authority(tmp_path: Path) -> Path:
    """An authority of this test alone, since what it revokes stays revoked."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    authority(folder, "authority")
    for name in ("node", "pacs", "second"):
        certificate(folder, name, "authority")
    return folder


def refused_because(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.__dict__["reason_code"] for record in caplog.records if record.msg == "association:tls_refused"]


def test_a_certificate_that_is_revoked_meanwhile_is_refused_without_a_restart(
    tmp_path: Path, own_authority: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that was begun before cannot be taken up again either: it would pass by the list."""
    monkeypatch.setattr(ServerTls, "CHECK_EVERY_S", 0.0)
    listed = revocation_list(own_authority, "authority")
    files = TlsFiles(own_authority / "node.crt", own_authority / "node.key", own_authority / "authority.crt", listed)
    with running_node(tmp_path) as node, listening(node, ListenerSettings(port=0, tls=ServerTls(files))) as listener:
        pacs = client(own_authority, "pacs")
        pacs.maximum_version = ssl.TLSVersion.TLSv1_2  # where a refused client learns it in the handshake
        with socket.create_connection(("127.0.0.1", listener.port)) as plain:
            begun = pacs.wrap_socket(plain, server_hostname="localhost")
            session = begun.session
            begun.close()
        with socket.create_connection(("127.0.0.1", listener.port)) as plain:
            again = pacs.wrap_socket(plain, server_hostname="localhost", session=session)
            assert again.session_reused
            again.close()
        assert store(listener, pacs) == 0
        revocation_list(own_authority, "authority", revoked="pacs")
        with socket.create_connection(("127.0.0.1", listener.port)) as plain, pytest.raises(OSError, match=ALERT):
            pacs.wrap_socket(plain, server_hostname="localhost", session=session)
        assert store(listener, client(own_authority, "pacs")) == -1
        assert store(listener, client(own_authority, "second")) == 0
        listed.write_text("nothing")
        assert store(listener, client(own_authority, "pacs")) == -1
        assert store(listener, client(own_authority, "second")) == 0
    assert set(refused_because(caplog)) == {"certificate_revoked"}
    assert [record.msg for record in caplog.records if record.name == "dicom_node.port.tls"] == ["tls:not_renewed"]


def test_an_expired_revocation_list_rejects_every_peer(
    tmp_path: Path, own_authority: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listed = revocation_list(own_authority, "authority", days="0")
    files = TlsFiles(own_authority / "node.crt", own_authority / "node.key", own_authority / "authority.crt", listed)
    while (ends := revocation_expiry(listed)) is None or ends >= datetime.now(UTC):
        time.sleep(0.05)
    with running_node(tmp_path) as node, listening(node, ListenerSettings(port=0, tls=ServerTls(files))) as listener:
        assert store(listener, client(own_authority, "pacs")) == -1
    assert refused_because(caplog) == ["crl_has_expired"]


def test_an_authority_that_was_revoked_itself_is_found_where_all_lists_are_there(
    tmp_path: Path, own_authority: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (own_authority / "between.ext").write_text("basicConstraints=critical,CA:TRUE\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=between", "-keyout", "between.key"]
    openssl(own_authority, "req", "-nodes", *key, "-out", "between.csr")
    signing = ["-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial", "-extfile", "between.ext"]
    openssl(own_authority, "x509", "-req", "-in", "between.csr", "-out", "between.crt", "-days", "30", *signing)
    certificate(own_authority, "leaf", "between")
    chain = (own_authority / "leaf.crt").read_text() + (own_authority / "between.crt").read_text()
    (own_authority / "leaf.crt").write_text(chain)
    lists = own_authority / "all.crl"
    files = TlsFiles(own_authority / "node.crt", own_authority / "node.key", own_authority / "authority.crt", lists)
    for revoked, expected in (("", 0), ("between", -1)):
        root, between = revocation_list(own_authority, "authority", revoked=revoked), own_authority / "between.crl"
        revocation_list(own_authority, "between")
        lists.write_text(root.read_text() + between.read_text())
        folder = tmp_path / f"node{revoked}"
        folder.mkdir()
        with running_node(folder) as node, listening(node, ListenerSettings(port=0, tls=ServerTls(files))) as listener:
            assert store(listener, client(own_authority, "leaf")) == expected
    assert refused_because(caplog) == ["certificate_revoked"]


def sha256_of(certificates: Path, name: str) -> str:
    """As an administrator asks for it: upper case, with colons."""
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(certificates / f"{name}.crt")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]


BINDINGS: dict[str, tuple[dict[str, list[str]], set[str]]] = {
    "a fingerprint": ({"certificate_sha256": ["pacs"]}, {"pacs"}),
    "two, while one is replaced": ({"certificate_sha256": ["pacs", "second"]}, {"pacs", "second"}),
    "a common name": ({"certificate_names": ["CN:pacs"]}, {"pacs"}),
    "case of a common name counts": ({"certificate_names": ["CN:PACS"]}, set()),
    "an alternative name": ({"certificate_names": ["DNS:LocalHost"]}, {"pacs", "second"}),
    "a common name is no host": ({"certificate_names": ["DNS:pacs"]}, set()),
    "one name of two": ({"certificate_names": ["URI:urn:other", "CN:second"]}, {"second"}),
    "both": ({"certificate_sha256": ["pacs"], "certificate_names": ["CN:second"]}, set()),
    "nothing": ({}, {"pacs", "second"}),
}


@pytest.mark.parametrize("binding", BINDINGS)
def test_an_ae_title_is_bound_to_its_certificate(
    tmp_path: Path, certificates: Path, caplog: pytest.LogCaptureFixture, binding: str
) -> None:
    rule, expected = BINDINGS[binding]
    rule = rule | {"certificate_sha256": [sha256_of(certificates, name) for name in rule.get("certificate_sha256", [])]}
    peers = (Peer(ae_title="PACS", **rule), Peer(ae_title="FREE"))  # type: ignore[arg-type]
    tls = TlsSettings(
        certificate=certificates / "node.crt", key=certificates / "node.key", authority=certificates / "authority.crt"
    )
    settings = wiring_port.listener_settings(Settings(home=tmp_path, dicom=DicomSettings(port=0, tls=tls, peers=peers)))
    with running_node(tmp_path) as node:
        with listening(node, settings) as listener:
            let_in = {name for name in ("pacs", "second") if store(listener, client(certificates, name)) == 0}
            assert store(listener, client(certificates, "second"), calling="FREE") == 0
            refused = {"pacs", "second"} - let_in
            assert listener.counters.value("association_rejections", "certificate") == len(refused)
        with node.database.read() as session:
            events = [entry.event for entry in audit.recent(session)]

    audited = [event.details for event in events if event.action == "association:rejected"]
    assert let_in == expected
    prints = {sha256_of(certificates, name).replace(":", "").lower() for name in refused}
    assert {entry["certificate_sha256"] for entry in audited} == prints
    assert {entry["reason"] for entry in audited} <= {"certificate"}
    logged = [record for record in caplog.records if record.msg == "association:rejected"]
    assert {record.__dict__["certificate_sha256"] for record in logged} == prints


def test_a_rejected_certificate_is_answered_as_an_unknown_calling_ae_title(tmp_path: Path, certificates: Path) -> None:
    from tests.endurance.test_intake_hostile_peers import associate_rq

    rule = PeerRule("PACS", "127.0.0.1", certificate=CertificateRule(names=frozenset({"CN:pacs"})))
    files = TlsFiles(certificates / "node.crt", certificates / "node.key", certificates / "authority.crt")
    settings = ListenerSettings(port=0, peers=(rule,), tls=ServerTls(files))
    with (
        running_node(tmp_path) as node,
        listening(node, settings) as listener,
        socket.create_connection(("127.0.0.1", listener.port)) as plain,
        client(certificates, "second").wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(associate_rq())
        assert connection.recv(10) == b"\3\0\0\0\0\4\0\1\1\3"  # PS3.8 table 9-21: permanent, user, calling title


def test_a_certificate_without_a_readable_name_bears_none() -> None:
    rule = CertificateRule(names=frozenset({"CN:pacs"}))
    assert [rule.allows(shown) for shown in (b"", b"\x30\x03abc")] == [False, False]
    assert CertificateRule().allows(b"")
    assert not CertificateRule(fingerprints=frozenset({hashlib.sha256(b"").hexdigest()})).allows(b"")


@pytest.mark.dcmtk
def test_dcmtk_stores_by_tls(listener: Listener, certificates: Path, tmp_path: Path) -> None:
    program = shutil.which("storescu", path=path_without_ours())
    if program is None:
        pytest.skip("DCMTK's storescu is not installed")
    path = tmp_path / "slice.dcm"
    path.write_bytes(part10(ct_dataset()))
    tls = [
        "+tls",
        str(certificates / "pacs.key"),
        str(certificates / "pacs.crt"),
        "+cf",
        str(certificates / "authority.crt"),
    ]
    arguments = [program, *tls, "-aec", "LUNGNODE", "127.0.0.1", str(listener.port), str(path)]

    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr


@contextmanager
def listening_with(certificates: Path, name: str, folder: Path) -> Iterator[Listener]:
    files = TlsFiles(certificates / f"{name}.crt", certificates / f"{name}.key", certificates / "authority.crt")
    settings = ListenerSettings(port=0, timeout_s=5, tls=ServerTls(files))
    with running_node(folder) as node, listening(node, settings) as opened:
        yield opened


CALLS = [
    ("node", "localhost", ""),
    ("node", "127.0.0.1", "no TLS connection"),  # the certificate bears another name
    ("expired", "localhost", "no TLS connection"),
    ("other", "localhost", "no TLS connection"),
]


@pytest.mark.parametrize(("theirs", "tls_name", "reason"), CALLS)
def test_no_association_is_requested_from_a_node_with_a_wrong_certificate(
    tmp_path: Path, certificates: Path, theirs: str, tls_name: str, reason: str
) -> None:
    ours = TlsFiles(certificates / "node.crt", certificates / "node.key", certificates / "authority.crt")
    with listening_with(certificates, theirs, tmp_path) as listener:
        node = RemoteNode("LUNGNODE", "127.0.0.1", listener.port, tls=ours, tls_name=tls_name)

        said = echo(node, "PACS", ScuTimeouts(5, 10, 10))

    assert said.startswith(reason)
    assert bool(said) == bool(reason)


def test_we_send_nothing_to_a_plain_port_that_should_be_tls(tmp_path: Path, certificates: Path) -> None:
    ours = TlsFiles(certificates / "node.crt", certificates / "node.key", certificates / "authority.crt")
    with running_node(tmp_path) as node, listening(node) as listener:
        remote = RemoteNode("LUNGNODE", "127.0.0.1", listener.port, tls=ours, tls_name="localhost")

        assert echo(remote, "PACS", ScuTimeouts(2, 5, 5)).startswith("no TLS connection")


def test_the_settings_make_both_sides_of_tls(tmp_path: Path, certificates: Path) -> None:
    """TLS settings apply to the listener and to the delivery of results."""
    tls = TlsSettings(
        certificate=certificates / "node.crt", key=certificates / "node.key", authority=certificates / "authority.crt"
    )
    listener_settings = wiring_port.listener_settings(Settings(home=tmp_path, dicom=DicomSettings(port=0, tls=tls)))
    with running_node(tmp_path) as node, listening(node, listener_settings) as listener:
        destination = Destination(
            ae_title="LUNGNODE", host="127.0.0.1", port=listener.port, tls=True, tls_name="localhost"
        )
        plain = destination.model_copy(update={"tls": False})
        settings = Settings(home=tmp_path, dicom=DicomSettings(tls=tls, destinations=(destination,)))

        assert echo(wiring_nodes.delivery_config(settings).destinations[0], "PACS", ScuTimeouts(5, 10, 10)) == ""
        assert echo(wiring_nodes.remote_node(settings, plain), "PACS", ScuTimeouts(2, 5, 5)) != ""


def test_encryption_without_certificates_of_peers_can_be_had(tmp_path: Path, certificates: Path) -> None:
    files = TlsFiles(
        certificates / "node.crt", certificates / "node.key", certificates / "authority.crt", requires_certificate=False
    )
    settings = ListenerSettings(port=0, timeout_s=5, tls=ServerTls(files))
    with running_node(tmp_path) as node, listening(node, settings) as listener:
        assert store(listener, client(certificates, None)) == 0
