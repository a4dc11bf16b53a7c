"""Files of docker/ pass their linters, and their commands run: start, ready, end at SIGTERM."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
BASE = DOCKER / "kubernetes" / "base"
UNIT = DOCKER / "systemd" / "lungnode@.service"
PARTS = ("dicom", "worker", "web")
KUBERNETES = "1.31"


def manifests(folder: Path) -> list[dict[str, Any]]:
    documents = [
        document for path in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
    ]
    return [document for document in documents if document and document["kind"] != "Kustomization"]


def lint(*command: str | Path) -> str:
    """Run a linter; skips where the machine has none."""
    tool = shutil.which(str(command[0]), path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([tool, *map(str, command[1:])], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_image_passes_hadolint() -> None:
    lint("hadolint", DOCKER / "Dockerfile")


@pytest.mark.parametrize("files", [("compose.yaml",), ("compose.yaml", "compose.gpu.yaml")])
def test_compose_files_are_understood(files: tuple[str, ...]) -> None:
    lint("docker-compose", *(part for name in files for part in ("-f", DOCKER / name)), "config", "--quiet")


def test_the_unit_is_exposed_little() -> None:
    lint("systemd-analyze", "security", "--offline=true", "--threshold=30", UNIT)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "lungnode@.service"
    unit.write_text(UNIT.read_text().replace("/opt/lungnode/bin/lungnode", "/bin/true"))  # must exist to be verified
    lint("systemd-analyze", "verify", "--man=no", unit)


@pytest.mark.parametrize(
    "manifest", manifests(BASE), ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_manifests_fit_the_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_a_wrong_manifest_is_noticed() -> None:
    wrong = next(document for document in manifests(BASE) if document["kind"] == "StatefulSet")
    wrong["spec"]["replicsa"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def built(overlay: str) -> dict[str, dict[str, Any]]:
    """Manifests that kustomize builds of a folder, by kind and name."""
    documents = list(yaml.safe_load_all(lint("kubectl", "kustomize", DOCKER / "kubernetes" / overlay)))
    return {f"{document['kind']} {document['metadata']['name']}": document for document in documents}


@pytest.mark.parametrize("overlay", ["base", "gpu"])
def test_kustomize_builds_what_fits_the_schema(overlay: str) -> None:
    built_manifests = built(overlay)
    assert len(built_manifests) == len(manifests(BASE))  # none is left out, none is there twice
    for manifest in built_manifests.values():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "lungnode"


def test_the_overlay_gives_each_worker_a_gpu_and_the_image_for_it() -> None:
    plain, gpu = (built(overlay)["StatefulSet worker"]["spec"]["template"]["spec"] for overlay in ("base", "gpu"))
    (container,) = gpu["containers"]
    assert container["resources"]["limits"] == {"memory": "12Gi", "nvidia.com/gpu": 1}
    assert container["image"] == plain["containers"][0]["image"] + "-cuda"
    assert container["args"] == plain["containers"][0]["args"]


def test_every_image_is_pinned_by_its_digest() -> None:
    bases = [line.split()[1] for line in (DOCKER / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")]
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    theirs = [service["image"] for part, service in services.items() if part not in PARTS]
    for image in (*bases, *theirs):
        assert re.fullmatch(r"[a-z/]+:[0-9][0-9a-z.-]+@sha256:[0-9a-f]{64}", image)


def test_every_service_has_a_health_check_limits_and_dependencies() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    for part, service in services.items():
        assert service["healthcheck"]["test"], part
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, part
        assert "no-new-privileges:true" in service["security_opt"], part
        assert service.get("read_only") or part == "orthanc"
        assert {needed["condition"] for needed in service.get("depends_on", {}).values()} <= {"service_healthy"}
    assert {part: sorted(services[part]["depends_on"]) for part in PARTS} == {
        "dicom": ["orthanc", "postgres"],
        "worker": ["dicom"],
        "web": ["dicom"],
    }


def commands() -> dict[str, list[str]]:
    """The commands of images, compose file, unit and manifests, by where they stand."""
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    entry = json.loads(next(line for line in lines if line.startswith("ENTRYPOINT")).split(" ", 1)[1])
    by_file = {"image": entry + json.loads(next(line for line in lines if line.startswith("CMD")).split(" ", 1)[1])}
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    by_file |= {f"compose {part}": entry + services[part]["command"] for part in PARTS}
    start = next(line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart="))
    path, *rest = start.removeprefix("ExecStart=").split()
    by_file |= {f"unit {part}": [Path(path).name, *(word.replace("%i", part) for word in rest)] for part in PARTS}
    for workload in manifests(BASE):
        if workload["kind"] in {"Deployment", "StatefulSet"}:
            (container,) = workload["spec"]["template"]["spec"]["containers"]
            by_file[f"kubernetes {container['name']}"] = entry + container["args"]
    return by_file


def test_all_places_start_a_part_in_the_same_way() -> None:
    by_file = commands()
    assert by_file.pop("image") == ["lungnode", "serve"]
    assert len(by_file) == 9
    assert all(command == ["lungnode", "serve", "--only", file.split()[1]] for file, command in by_file.items())


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_part_starts_is_found_healthy_and_ends_at_sigterm(part: str, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "LUNGNODE_DATABASE__URL").write_text(f"sqlite:///{tmp_path / 'named-by-a-secret.db'}\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LUNGNODE_")}
    environment = clean | {
        "LUNGNODE_HOME": str(tmp_path / "home"),
        "LUNGNODE_SECRETS": str(secrets),
        "LUNGNODE_DICOM__PORT": "0",
        "LUNGNODE_WEB__PORT": "0",
        "LUNGNODE_DICOM__MIN_FREE_MB": "0",
        "PYTHONPATH": str(ROOT),
    }
    program, *arguments = commands()[f"compose {part}"]
    command = [sys.executable, "-m", program, *arguments]
    probe = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"][part]["healthcheck"]["test"]
    health = [sys.executable, *probe[2:]]

    def is_healthy() -> bool:
        return subprocess.run(health, env=environment, capture_output=True, check=False).returncode == 0

    assert not is_healthy()
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["event"] == "ready"
            assert is_healthy()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert not is_healthy()
    assert (tmp_path / "named-by-a-secret.db").exists()
