"""``python -m training.federated.rehearse --sites DIR DIR DIR --out DIR``: run a federation on this machine.

Starts what hospitals would start on theirs, each as a process of its own: Flower's SuperLink with TLS, one SuperNode
for each site's folder, which proves itself with its own key, and one run. ``--stop-site`` ends a site in the middle.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from training.data.records import DataError
from training.federated.plan import STRATEGIES, Plan

APP = Path(__file__).parent / "app"
LOOPBACK = "127.0.0.1"


def write_certificates(folder: Path) -> dict[str, Path]:
    """Write a one-day CA and the server's certificate for loopback, PEM."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    server = authority.issue_cert(LOOPBACK, "localhost", not_after=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    paths = {name: folder / f"{name}.pem" for name in ("ca", "server", "server-key")}
    authority.cert_pem.write_to_path(paths["ca"])
    server.cert_chain_pems[0].write_to_path(paths["server"])
    server.private_key_pem.write_to_path(paths["server-key"])
    paths["server-key"].chmod(0o600)
    return paths


def write_site_key(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a site's key pair in OpenSSH format; return the private and public files."""
    key = ec.generate_private_key(ec.SECP384R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    private.chmod(0o600)
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    )
    return private, public


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


class Rehearsal:
    """Processes of one federation, ended on exit."""

    def __init__(self, folders: list[Path], out: Path, plan: Plan) -> None:
        self.folders, self.out, self.plan = folders, out, plan
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.certificates = write_certificates(out / "keys")
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_HOME": str(out / "flower"),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }

    def __enter__(self) -> Rehearsal:
        """Start the server, register and start the sites."""
        for tool in ("flower-superlink", "flower-supernode", "flwr"):
            if shutil.which(tool, path=self.environment["PATH"]) is None:
                raise DataError(f"{tool} is not installed: pip install 'lungnode[federated]'")
        home = self.out / "flower"
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.toml").write_text(
            "[superlink]\ndefault = 'rehearsal'\n\n[superlink.rehearsal]\n"
            f"address = '{LOOPBACK}:{self.port}'\nroot-certificates = '{self.certificates['ca']}'\n"
        )
        self._start("server", [
            "flower-superlink", "--host", LOOPBACK, "--port", str(self.port), "--enable-supernode-auth",
            "--disable-runtime-dependency-installation", *self._tls(),
        ])  # fmt: skip
        self._wait_for_port()
        for number in range(len(self.folders)):
            private, public = write_site_key(self.out / "keys", f"site-{number}")
            self.flwr("supernode", "register", str(public), "rehearsal")
            self.start_site(number, private)
        return self

    def __exit__(self, *_: object) -> None:
        """End all, sites first."""
        for name in reversed(list(self.processes)):
            self.stop(name)

    def start_site(self, number: int, private: Path) -> None:
        """Start the SuperNode of a site, authenticated by its ``private`` key."""
        folder = self.folders[number].resolve()
        self._start(f"site-{number}", [
            "flower-supernode", "--superlink", f"{LOOPBACK}:{self.port}",
            "--root-certificates", str(self.certificates["ca"]), "--auth-supernode-private-key", str(private),
            "--host", LOOPBACK, "--port", str(free_port()), *self._tls(),
            "--node-config", f'data="{folder}" site={number}',
        ])  # fmt: skip

    def _tls(self) -> list[str]:
        paths = self.certificates
        return ["--ssl-ca-certfile", str(paths["ca"]), "--ssl-certfile", str(paths["server"]),
                "--ssl-keyfile", str(paths["server-key"])]  # fmt: skip

    def _start(self, name: str, command: list[str]) -> None:
        with (self.out / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 - our own tools
                command, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )

    def _wait_for_port(self, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.processes["server"].poll() is not None:
                break
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((LOOPBACK, self.port)) == 0:
                    return
            time.sleep(0.2)
        raise DataError(f"the server did not start; its words are in {self.out / 'server.log'}")

    def flwr(self, *words: str) -> str:
        """Run Flower's command line and return its output.

        Raises
        ------
        DataError
            It failed.
        """
        done = subprocess.run(  # noqa: S603 - our own tools
            ["flwr", *words],  # noqa: S607
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DataError(f"flwr {' '.join(words[:2])} failed: {(done.stdout + done.stderr).strip()[-500:]}")
        return done.stdout

    def stop(self, name: str) -> None:
        """Kill one process and what it started."""
        process = self.processes.pop(name)
        for how in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                try:
                    os.killpg(process.pid, how)
                    process.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue

    def run(self, *, stop_site: int | None = None, after_round: int = 1, limit_s: float = 3600.0) -> dict[str, Any]:
        """Submit the run and wait for its summary, printing its rounds.

        Raises
        ------
        DataError
            There is no summary within ``limit_s``, or the server ended.
        """
        config = replace(self.plan, sites=len(self.folders)).config() | {"out": str((self.out / "joint").resolve())}
        settings = self.out / "run.toml"
        settings.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in config.items()))
        summary, progress = self.out / "joint" / "federated.json", self.out / "joint" / "rounds.txt"
        summary.unlink(missing_ok=True)
        progress.unlink(missing_ok=True)
        self.flwr("run", str(APP), "rehearsal", "--run-config", str(settings))
        printed, deadline = 0, time.monotonic() + limit_s
        while not summary.is_file():
            if time.monotonic() > deadline or self.processes["server"].poll() is not None:
                raise DataError(f"the run did not end; the server's words are in {self.out / 'server.log'}")
            rounds = progress.read_text().splitlines() if progress.is_file() else []
            for line in rounds[printed:]:
                print(line, file=sys.stderr, flush=True)
            printed = len(rounds)
            if stop_site is not None and printed >= after_round:
                print(f"site {stop_site} is killed", file=sys.stderr, flush=True)
                self.stop(f"site-{stop_site}")
                stop_site = None
            time.sleep(0.5)
        result: dict[str, Any] = json.loads(summary.read_text())
        return result


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints the summary as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m training.federated.rehearse", description=__doc__.split("\n")[0])
    parser.add_argument("--sites", type=Path, nargs="+", required=True, help="a folder of nodules for each site")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strategy", choices=STRATEGIES, default="fedavg")
    parser.add_argument("--group", default=Plan().group)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--local-epochs", type=int, default=1)
    parser.add_argument("--least", type=int, default=2, help="sites that must answer for a round to count")
    parser.add_argument("--wait", type=float, default=600.0, help="seconds that a round waits for its sites")
    parser.add_argument("--stop-site", type=int, default=None, help="kill this site after the first round")
    args = parser.parse_args(argv)
    try:
        plan = Plan(group=args.group, strategy=args.strategy, rounds=args.rounds, local_epochs=args.local_epochs,
                    least=args.least, wait_s=args.wait, sites=len(args.sites))  # fmt: skip
        args.out.mkdir(parents=True, exist_ok=True)
        with Rehearsal(args.sites, args.out.resolve(), plan) as rehearsal:
            summary = rehearsal.run(stop_site=args.stop_site)
    except (DataError, OSError) as error:
        print(f"training.federated.rehearse: {error}", file=sys.stderr)
        return 2
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
