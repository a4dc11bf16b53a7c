"""A federation of real processes over TLS: sites that prove themselves, one that dies, one that is not let in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs lungnode[federated]")

from safetensors.torch import load_file

from inference.bundle import build_network
from tests.unit.training.test_commands import write_nodules
from training.federated import rehearse
from training.federated.plan import Plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_sites_train_together_over_tls_while_one_of_them_dies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sites = [tmp_path / f"site-{i}" for i in range(3)]
    for site in sites:
        write_nodules(site)
    command = ["--sites", *map(str, sites), "--out", str(tmp_path / "out"), "--rounds", "2", "--wait", "180"]
    assert rehearse.main([*command, "--stop-site", "1"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [r["accepted"] for r in summary["rounds"]] == [3, 2]
    assert summary["test"]["n"] == 12  # the dead site's six are missing
    assert summary["calibrator"] is not None
    weights = load_file(tmp_path / "out" / "joint" / "model.safetensors")
    own = build_network(Plan().network_group().description).state_dict()
    assert {name.split(".", 1)[1] for name in weights} == set(own)


def test_a_site_without_a_registered_key_is_not_let_in(tmp_path: Path) -> None:
    write_nodules(tmp_path / "site")
    with rehearse.Rehearsal([tmp_path / "site"], tmp_path, Plan(sites=1, least=1)) as federation:
        private, _ = rehearse.write_site_key(tmp_path / "keys", "outsider")
        federation.folders.append(tmp_path / "site")
        federation.start_site(1, private)
        assert federation.processes["site-1"].wait(60) != 0
        assert federation.processes["site-0"].poll() is None
