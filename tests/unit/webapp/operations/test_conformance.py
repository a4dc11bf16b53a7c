"""The conformance page shows the statement of the node that runs; the port's counters reach Prometheus."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from dicom_node.encoding.transfer_syntaxes import RESULT_CLASSES, STORAGE_CLASSES
from dicom_node.intake.counters import Counters
from lungnode.adapters.conformance import statement
from lungnode.monitoring.listener_metrics import CountsFile
from lungnode.settings.dicom import Destination, DicomSettings, Peer
from lungnode.settings.records import RetentionSettings
from lungnode.settings.service import Settings
from tests.unit.webapp.conftest import Web


def test_the_statement_follows_the_configuration(make_web: Callable[..., Web]) -> None:
    peer = Peer(ae_title="ARCHIVE", host="10.0.0.7", port=4242, may_query=True)
    web_archive = Destination(
        ae_title="WEB", url="https://pacs.example.org/dicom-web", authorization=SecretStr("Bearer SECRET")
    )
    settings = Settings(
        dicom=DicomSettings(ae_title="SECOND", peers=(peer,), destinations=(web_archive,)),
        retention=RetentionSettings(days=30),
    )
    sections = statement(settings)
    assert [section.number for section in sections][:3] == ["1", "2", "3"]
    page = make_web(conformance=sections).client().get("/conformance")
    assert page.status_code == 200
    for words in ("SECOND", "ARCHIVE", "10.0.0.7:4242", "STOW-RS", "30 days", *STORAGE_CLASSES, *RESULT_CLASSES):
        assert words in page.text, words
    assert "SECRET" not in page.text


def test_the_counters_of_the_port_are_shown_while_it_lives(make_web: Callable[..., Web], tmp_path: Path) -> None:
    counters = Counters()
    counters.add("instances", "stored", 7)
    counters.add("refusals", "storage-full", 2)
    counters.add("received_bytes", amount=4096)
    counters.set("associations_open", 3)
    file = CountsFile(tmp_path, counters)
    file.write()
    client = make_web(counts_folder=tmp_path).client()
    text = client.get("/metrics").text
    assert 'lungnode_dicom_instances_total{verdict="stored"} 7.0' in text
    assert 'lungnode_dicom_refusals_total{reason="storage-full"} 2.0' in text
    assert "lungnode_dicom_received_bytes_total 4096.0" in text
    assert "lungnode_dicom_associations_open 3.0" in text
    assert 'lungnode_analyses_24h{outcome="analysed"} 0.0' in text
    (path,) = tmp_path.glob("counts-*.json")
    os.utime(path, (1, 1))
    assert 'verdict="stored"' not in client.get("/metrics").text
    path.write_text("{not json")
    assert client.get("/metrics").status_code == 200
    file.remove()
    assert not list(tmp_path.glob("counts-*"))
