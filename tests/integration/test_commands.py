"""The installed commands as a person types them, with the shipped models."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.environment import clean_environment
from tests.support.factories import ct_series


def type_command(home: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``lungnode`` with a home of its own."""
    environment = clean_environment()
    environment["LUNGNODE_HOME"] = str(home)
    command = [sys.executable, "-m", "lungnode", *arguments]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)


def picture(path: Path) -> Path:
    """Write a picture of noise."""
    content = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(content, "PNG")
    path.write_bytes(content.getvalue())
    return path


def test_predict_answers_what_it_can_and_fails_for_the_rest(tmp_path: Path) -> None:
    instance = ct_series(tmp_path / "series", n=3).paths[1]
    (tmp_path / "text.txt").write_text("no picture")
    files = [str(picture(tmp_path / "noise.png")), str(instance), str(tmp_path / "text.txt")]
    done = type_command(tmp_path / "home", "predict", *files)
    assert done.returncode == 1
    noise, dicom = (json.loads(line) for line in done.stdout.splitlines())
    assert noise["class"] is None
    assert noise["input"]["in_domain"] is False
    assert noise["input"]["reasons"]
    assert dicom["class"] is None
    assert dicom["input"]["kind"] == "dicom"
    (problem,) = [line for line in done.stderr.splitlines() if line.startswith("lungnode: ")]
    assert "text.txt: " in problem
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0


def test_predictions_are_in_the_audit_trail(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert type_command(home, "predict", str(picture(tmp_path / "noise.png"))).returncode == 0
    done = type_command(home, "audit", "verify")
    assert done.returncode == 0
    assert json.loads(done.stdout)["events"] >= 1


def test_the_doctor_finds_a_fresh_installation_sound(tmp_path: Path) -> None:
    done = type_command(tmp_path / "home", "doctor")
    assert done.returncode == 0, done.stdout
    assert "all 7 checks passed" in done.stdout


def test_the_doctor_finds_a_missing_bundle(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environment = {**os.environ, "LUNGNODE_HOME": str(home), "LUNGNODE_MODEL__BUNDLE": str(tmp_path)}
    command = [sys.executable, "-m", "lungnode", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FAILED  models" in done.stdout


def test_a_person_is_added_from_standard_input(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert type_command(home, "db", "upgrade").returncode == 0
    done = type_command(home, "user", "add", "ada", stdin="correct horse battery\n")
    assert (done.returncode, done.stdout) == (0, "added ada as radiologist\n")
    assert "battery" not in done.stdout + done.stderr


def test_an_account_is_changed_by_commands(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert type_command(home, "db", "upgrade").returncode == 0
    type_command(home, "user", "add", "ada", stdin="correct horse battery\n")
    for words, expected in (
        (("user", "role", "ada", "auditor"), "ada is now auditor\n"),
        (("user", "disable", "ada"), "disabled ada\n"),
        (("user", "enable", "ada"), "enabled ada\n"),
        (("user", "signout", "ada"), "signed ada out everywhere\n"),
    ):
        done = type_command(home, *words)
        assert (done.returncode, done.stdout) == (0, expected), done.stderr
    assert type_command(home, "token", "create", "script", "--owner", "ada").stdout.startswith("lnt_")
    for refused in ("user signout sso:unknown", "token create other --owner bob"):
        done = type_command(home, *refused.split())
        assert (done.returncode, done.stdout) == (1, "")
        assert "user not found" in done.stderr
