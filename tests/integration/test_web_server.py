"""The real server: streams give their threads back, slow and silent clients block no other."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.webapp_doubles import new_database

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("server")
    new_database(folder).dispose()
    command = [sys.executable, "-m", "tests.support.serve", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["port"])
        process.terminate()


def get(port: int, path: str) -> tuple[int, str, float]:
    """Status, text and seconds of a legitimate request."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(), time.monotonic() - began
    finally:
        connection.close()


def open_streams(port: int) -> int:
    text = get(port, "/metrics")[1]
    return int(float(text.split("\nlungnode_event_streams ")[1].split()[0]))


def eventually(port: int, expected: int, within_s: float = 30.0) -> None:
    ends_at = time.monotonic() + within_s
    while (count := open_streams(port)) != expected:
        assert time.monotonic() < ends_at, f"{count} streams instead of {expected}"


def connected(stack: ExitStack, port: int, sent: bytes = b"") -> socket.socket:
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
    if sent:
        connection.sendall(sent)
    return connection


def test_streams_give_their_threads_back_when_readers_go(port: int) -> None:
    request = b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(2):
            reader = connected(stack, port, request)
            assert b"text/event-stream" in reader.recv(4096)
        eventually(port, 2)
    eventually(port, 0)


@pytest.mark.parametrize(
    ("what", "sent"),
    [
        ("silent", b""),
        ("slow headers", b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: "),
        (
            "slow bodies",
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 100000\r\n\r\n--b\r\n",
        ),
    ],
)
def test_slow_clients_block_no_other(port: int, what: str, sent: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            connected(stack, port, sent)
        status, _, seconds = get(port, "/livez")
    assert status == 200, what
    assert seconds < 10


def test_a_body_that_claims_gigabytes_is_refused_at_once(port: int) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4294967295\r\n\r\n"
    with ExitStack() as stack:
        assert b" 413 " in connected(stack, port, head).recv(100)


def test_the_answer_does_not_name_the_server(port: int) -> None:
    with ExitStack() as stack:
        answer = connected(stack, port, b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").recv(
            4096
        )
    assert b"\r\nserver:" not in answer.lower()
