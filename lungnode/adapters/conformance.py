"""DICOM conformance statement of this node (layout of PS3.2 annex N), from its settings and code."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from db.domain.uids import APPLICATION_CONTEXT
from webapp.ports import StatementSection as Section
from webapp.ports import StatementTable as Table

if TYPE_CHECKING:
    from lungnode.settings.service import Settings


def statement(settings: Settings) -> tuple[Section, ...]:
    """Return the sections of the statement; they hold no secrets."""
    return (
        _overview(settings),
        Section("2", "Introduction", (_ABOUT,)),
        Section("3", "Networking", (_MODEL,)),
        _entity(settings),
        *_services(settings),
        _configuration(settings),
        Section("4", "Media interchange", ("No media are written or read.",)),
        Section("5", "Character sets", (_CHARACTER_SETS,)),
        _security(settings),
        _annex(settings),
    )


_ABOUT = (
    "lungnode is a second reader for lung CT: it takes chest CT, answers with calibrated probabilities, and sends "
    "results back as DICOM objects. It is not a medical device and no archive. Terms are those of PS3.1 to PS3.8."
)
_MODEL = (
    "One application entity takes images and answers queries; the same title is used when results are sent, commitment "
    "is asked for, and studies are fetched. Real-world activities: a PACS pushes a study, a PACS asks for results, "
    "an analysis ends, a reader gives verdicts, an administrator has a study fetched."
)
_CHARACTER_SETS = (
    "Received names are read in every character set of PS3.3 C.12.1.1.2 and kept byte by byte. Results keep the set of "
    "their source; what they add is in the default repertoire. Query responses are in ISO_IR 192 (UTF-8)."
)


def _overview(settings: Settings) -> Section:
    from dicom_node.encoding.transfer_syntaxes import RESULT_CLASSES, STORAGE_CLASSES

    sends = "Yes" if settings.dicom.destinations else "Yes, once a destination is configured"
    rows = [("Transfer", name, "No", "Yes") for name in STORAGE_CLASSES.values()]
    rows += [("Transfer", name, sends, "Own only") for name in RESULT_CLASSES.values()]
    rows += [
        ("Workflow", "Storage Commitment Push Model", "Yes", "Yes"),
        ("Query/Retrieve", "Study Root - FIND", "Yes", "Yes"),
        ("Query/Retrieve", "Study Root - MOVE", "Yes", "Yes"),
        ("Query/Retrieve", "Study Root - GET", "No", "Yes"),
        ("Verification", "Verification", "Yes", "Yes"),
    ]
    text = f"lungnode {version('lungnode')}, application entity {settings.dicom.ae_title}."
    return Section("1", "Overview", (text,), (Table("Network services", ("", "SOP class", "User", "Provider"), rows),))


def _entity(settings: Settings) -> Section:
    from dicom_node.encoding.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    from dicom_node.port.listener import ListenerSettings

    dicom = settings.dicom
    rows = [
        ("AE title", dicom.ae_title),
        ("Application context", APPLICATION_CONTEXT),
        ("Implementation class UID", IMPLEMENTATION_CLASS_UID),
        ("Implementation version name", IMPLEMENTATION_VERSION_NAME),
        ("Maximum PDU length", f"{ListenerSettings().max_pdu_bytes} bytes"),
        ("Associations at once", str(dicom.max_associations)),
        ("Silence after which an association is closed", f"{dicom.timeout_s:g} s"),
        ("Asynchronous operations", "none"),
        ("Largest dataset", f"{dicom.max_instance_mb} MiB"),
        ("A series is complete after", f"{dicom.quiet_s:g} s without a new instance"),
    ]
    return Section("3.1", "Application entity: association policies", (), (Table("", ("item", "value"), rows),))


def _services(settings: Settings) -> Sequence[Section]:
    from pynetdicom.sop_class import Verification

    from dicom_node.encoding.commitment_messages import COMMITMENT_CLASS
    from dicom_node.encoding.status import Status
    from dicom_node.encoding.transfer_syntaxes import RESULT_CLASSES, STORAGE_CLASSES, TRANSFER_SYNTAXES
    from dicom_node.query_models import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
    from dicom_node.services.storage_service import PLAIN_SYNTAXES

    names: dict[str, str] = {
        Verification: "Verification",
        COMMITMENT_CLASS: "Storage Commitment Push Model",
        STUDY_ROOT_FIND: "Study Root Query/Retrieve - FIND",
        STUDY_ROOT_MOVE: "Study Root Query/Retrieve - MOVE",
        STUDY_ROOT_GET: "Study Root Query/Retrieve - GET",
    }
    plain, every = ", ".join(PLAIN_SYNTAXES), ", ".join(TRANSFER_SYNTAXES)
    accepted = [(Verification, names[Verification], plain, "SCP")]
    accepted += [(uid, name, every, "SCP; SCU for C-GET") for uid, name in STORAGE_CLASSES.items()]
    accepted += [(uid, name, plain, "SCP for our own; SCU for C-GET") for uid, name in RESULT_CLASSES.items()]
    accepted += [(uid, names[uid], plain, "SCP") for uid in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET)]
    accepted.append((COMMITMENT_CLASS, names[COMMITMENT_CLASS], plain, "SCP; SCU by role selection"))
    both = ", ".join(PLAIN_SYNTAXES[:2])
    proposed = [(uid, name, both, "SCU") for uid, name in RESULT_CLASSES.items()]
    proposed += [(uid, names[uid], both, "SCU") for uid in (Verification, STUDY_ROOT_FIND, STUDY_ROOT_MOVE)]
    proposed.append((COMMITMENT_CLASS, names[COMMITMENT_CLASS], both, "SCU; SCP by role selection for reports"))
    columns = ("abstract syntax", "name", "transfer syntaxes", "role")
    statuses = [(f"0x{int(status):04X}", status.name.lower().replace("_", " ")) for status in sorted(Status, key=int)]
    return (
        Section("3.2", "Presentation contexts that are accepted", (), (Table("", columns, accepted),)),
        Section("3.3", "Presentation contexts that are proposed", (), (Table("", columns, proposed),)),
        Section("3.4", "Statuses of a C-STORE", (_STORED,), (Table("", ("status", "meaning"), statuses),)),
        Section("3.5", "Storage commitment", (_commitment(settings),)),
        Section("3.6", "Query/Retrieve", (_QUERY,)),
    )


_STORED = "Success is sent after the bytes, their name and the index are on the disk, never before. Level 2 (full)."
_QUERY = (
    "Levels STUDY, SERIES and IMAGE of Study Root, hierarchical. C-MOVE goes to configured nodes only. Objects are "
    "sent as they are stored; uncompressed ones are rewritten where the receiver takes another uncompressed syntax."
)


def _commitment(settings: Settings) -> str:
    days = settings.retention.days
    retention = f"{days} days after the last instance of their study arrived" if days else "without limit"
    text = "What is committed has been read again and has the digest it was received with."
    return f"{text} Instances are kept {retention}."


def _configuration(settings: Settings) -> Section:
    dicom = settings.dicom
    peers = [
        (peer.ae_title, f"{peer.host}:{peer.port}", _yes(peer.may_store), _yes(peer.may_query), _yes(peer.is_bound))
        for peer in dicom.peers
    ] or [("anyone", "loopback only", "yes", "yes", "no")]
    nodes = [
        (node.ae_title, "STOW-RS" if node.url else f"C-STORE, {node.host}:{node.port}", _yes(node.storage_commitment))
        for node in dicom.destinations
    ] or [("none", "", "")]
    return Section(
        "3.7",
        "Network interfaces and configuration",
        (f"Listens on {dicom.host}:{dicom.port}, TCP/IP.",),
        (
            Table("Peers", ("AE title", "address", "may store", "may query", "own certificate"), peers),
            Table("Destinations of results", ("AE title", "how", "asked to commit"), nodes),
        ),
    )


def _security(settings: Settings) -> Section:
    callers = "the listed peers, by title and address" if settings.dicom.peers else "anyone on this machine"
    tls = settings.dicom.tls
    secure = "Associations are not encrypted by this node."
    if tls.certificate is not None:
        secure = "Secure transport connection profile: BCP 195 RFC 8996 (PS3.15 B.12)."
        shown = "A caller shows a certificate of our authority" if tls.require_certificate else "A caller shows none"
        secure += f" {shown}{', looked up in revocation lists' if tls.revocations else ''}."
    text = (
        f"Associations are taken from {callers}. {secure} Queries, retrievals, refusals and deliveries are on a "
        "tamper-evident audit trail."
    )
    return Section("6", "Security", (text,))


def _annex(settings: Settings) -> Section:
    from dicom_node.results.job import KINDS

    words = {"sr": "report, TID 1500", "sc": "summary pages", "pr": "outlines on the slices",
             "verified": "report that a reader verified", "ko": "withdrawal (113001 or 113037, DCM)",
             "seg": "measured findings"}  # fmt: skip
    enabled = {"sr", "verified", "ko", *settings.dicom.results}
    rows = [
        (words[name], kind.sop_class_uid, kind.modality, str(kind.series_number), _yes(name in enabled))
        for name, kind in KINDS.items()
    ]
    return Section(
        "7",
        "Annex: objects that are made",
        ("Private codes: scheme 99LUNGNODE, in Coding Scheme Identification. No private attributes.",),
        (Table("", ("object", "SOP class", "Modality", "Series Number", "made here"), rows),),
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
