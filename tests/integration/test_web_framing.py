"""Requests that two servers could end in different places, by raw sockets: refused, and the connection ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nginx import running_nginx
from tests.support.webapp_doubles import new_database

ROOT = Path(__file__).resolve().parents[2]
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
"""Second request that an attacker smuggles in."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("server")
    new_database(folder).dispose()
    command = [sys.executable, "-m", "tests.support.serve", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["port"])
        process.terminate()


@pytest.fixture(scope="module")
def proxied(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with running_nginx(tmp_path_factory.mktemp("nginx"), port) as proxy:
        yield proxy.port


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes and read until the server closes, or says nothing for a while although more was asked."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def request(*fields: bytes, line: bytes = b"POST /sign-in HTTP/1.1", host: bool = True, body: bytes = b"") -> bytes:
    return b"\r\n".join([line, *([b"Host: 127.0.0.1"] if host else []), *fields, b"", b""]) + body


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
REFUSED = {
    "both lengths": request(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKED),
    "both lengths, other order": request(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED),
    "both lengths, zero": request(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "both lengths, other case": request(b"content-length: 5", b"TRANSFER-ENCODING: Chunked", body=CHUNKED),
    "two lengths": request(b"Content-Length: 0", b"Content-Length: 5", body=b"hello"),
    "two equal lengths": request(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
    "a list of lengths": request(b"Content-Length: 5, 5", body=b"hello"),
    "a negative length": request(b"Content-Length: -1"),
    "a signed length": request(b"Content-Length: +5", body=b"hello"),
    "a hexadecimal length": request(b"Content-Length: 0x5", body=b"hello"),
    "a length of other digits": request("Content-Length: \u0665".encode(), body=b"hello"),
    "chunked, identity": request(b"Transfer-Encoding: chunked, identity", body=CHUNKED),
    "identity": request(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello"),
    "chunked twice": request(b"Transfer-Encoding: chunked, chunked", body=CHUNKED),
    "two codings": request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=CHUNKED),
    "two codings, one hidden": request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: cow", body=CHUNKED),
    "a coding with a vertical tab": request(b"Transfer-Encoding: \x0bchunked", body=CHUNKED),
    "an unknown coding": request(b"Transfer-Encoding: xchunked", body=CHUNKED),
    "an empty coding": request(b"Transfer-Encoding:", b"Content-Length: 5", body=b"hello"),
    "a blank before the colon": request(b"Transfer-Encoding : chunked", body=CHUNKED),
    "a blank before the length's colon": request(b"Content-Length : 5", body=b"hello"),
    "a folded line": request(b"X-A: b\r\n Transfer-Encoding: chunked", b"Content-Length: 5", body=b"hello"),
    "a folded coding": request(b"Transfer-Encoding:\r\n chunked", body=CHUNKED),
    "a bare LF": request(b"X-A: b\nTransfer-Encoding: chunked", body=CHUNKED),
    "a bare CR": request(b"X-A: b\rTransfer-Encoding: chunked", body=CHUNKED),
    "a NUL": request(b"X-A: b\0c"),
    "a line without a colon": request(b"chunked"),
    "chunked in HTTP/1.0": request(b"Transfer-Encoding: chunked", line=b"POST /sign-in HTTP/1.0", body=CHUNKED),
    "no host": request(host=False, line=b"GET /livez HTTP/1.1"),
    "two hosts": request(b"Host: evil.example.org", line=b"GET /livez HTTP/1.1"),
    "a chunk size that is none": request(b"Transfer-Encoding: chunked", body=b"zz\r\nhello\r\n0\r\n\r\n"),
    "a signed chunk size": request(b"Transfer-Encoding: chunked", body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with an underscore": request(b"Transfer-Encoding: chunked", body=b"0_5\r\nhello\r\n0\r\n\r\n"),
    "a chunk without its end": request(b"Transfer-Encoding: chunked", body=b"5\r\nhelloX\r\n0\r\n\r\n"),
    "a body above the limit": request(b"Content-Length: 999999999999"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_requests_of_two_readings_are_refused_and_nothing_after_them_is_served(port: int, what: str) -> None:
    answer = exchange(port, REFUSED[what] + HIDDEN)
    assert answer.count(b"HTTP/1.") == 1, answer
    assert answer.split(b" ")[1] in (b"400", b"413", b"501"), answer
    assert b"connection: close" in answer.lower()
    assert b"alive" not in answer


@pytest.mark.parametrize("what", REFUSED)
def test_nothing_is_smuggled_through_nginx(proxied: int, what: str) -> None:
    """nginx refuses most itself; what it passes on in its own framing reaches us as one request."""
    answer = exchange(proxied, REFUSED[what] + HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200") <= 1, answer
    assert answer.split(b" ")[1] in (b"400", b"403", b"413", b"501"), answer


def test_usual_requests_are_served_one_after_the_other(port: int) -> None:
    last = request(b"Connection: close", line=b"GET /livez HTTP/1.1")
    chunked = request(b"Transfer-Encoding: chunked", body=CHUNKED)
    answer = exchange(port, HIDDEN + request(b"Content-Length: 5", body=b"hello") + chunked + last)
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert (statuses[0], statuses[3], len(statuses)) == (b"200", b"200", 4)
