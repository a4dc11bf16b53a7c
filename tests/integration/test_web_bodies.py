"""Bodies above the limit: every client gets the answer that the API promises, whatever way it sends them."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serve import SMALL_BYTES as LIMIT
from tests.support.webapp_doubles import new_database

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60
HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("bodies")
    new_database(folder).dispose()
    command = [sys.executable, "-m", "tests.support.serve", str(folder), "small"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["port"])
        process.terminate()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    with http.client.HTTPResponse(connection) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read()


def refused(connection: socket.socket) -> dict[str, str]:
    status, headers, body = read_answer(connection)
    assert (status, headers["content-type"]) == (413, "application/json")
    error: dict[str, str] = json.loads(body)["error"]
    assert set(error) == {"code", "message", "reference"}
    return error


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 2**16, LIMIT + 2**16 + 1, 64 * LIMIT])
def test_a_client_that_sends_all_before_it_reads_gets_the_answer(port: int, size: int) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // LIMIT):
            connection.sendall(bytes(LIMIT))
        connection.sendall(bytes(size % LIMIT))
        assert refused(connection)["code"] == "request_entity_too_large"


@pytest.mark.parametrize("chunk", [7, 2**16])
def test_chunks_above_the_limit_get_the_answer(port: int, chunk: int) -> None:
    piece = b"%x\r\n%b\r\n" % (chunk, bytes(chunk))
    pieces = piece * max(1, 2**18 // len(piece))
    with connected(port) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(2 * 16 * LIMIT // len(pieces)):
            connection.sendall(pieces)
        connection.sendall(b"0\r\n\r\n")
        assert refused(connection)["code"] == "request_entity_too_large"


def test_a_client_that_expects_100_continue_is_refused_before_the_body(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (2 * LIMIT))
        assert refused(connection)["code"] == "request_entity_too_large"
        assert connection.recv(1) == b"", "nothing follows"


def test_a_browser_gets_a_page(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + b"Accept: text/html\r\nContent-Length: %d\r\n\r\n" % (3 * LIMIT))
        connection.sendall(bytes(3 * LIMIT))
        status, headers, body = read_answer(connection)
    assert (status, headers["content-type"]) == (413, "text/html; charset=utf-8")
    assert b"</html>" in body


def test_the_connection_ends_once_the_client_has_sent_all(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (2 * LIMIT))
        refused(connection)
        assert connection.recv(1) == b""
        connection.sendall(bytes(2 * LIMIT))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def test_a_request_behind_another_one_is_refused_too(port: int) -> None:
    with connected(port) as connection:
        first = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        connection.sendall(first + HEAD + b"Content-Length: %d\r\n\r\n" % (2 * LIMIT))
        connection.sendall(bytes(2 * LIMIT))
        with connection.makefile("rb") as answers:  # both may come at once, and nothing after them
            served, refusal = answers.read().split(b"HTTP/1.1 ")[1:]
    assert served.startswith(b"200 ")
    assert refusal.startswith(b"413 ")
    assert json.loads(refusal.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_entity_too_large"


def test_a_body_within_the_limit_is_served_and_the_connection_stays(port: int) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    body = head + bytes(LIMIT - len(head) - 10) + b"\r\n--b--\r\n"
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    for _ in range(2):
        client.request("POST", "/predict", body, {"Content-Type": "multipart/form-data; boundary=b"})
        response = client.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (415, "unsupported_type")
    client.close()


@pytest.mark.parametrize(
    ("what", "sent", "status", "code"),
    [
        ("no request line", b"hello\r\n\r\n", 400, "bad_request"),
        ("a length that is none", HEAD + b"Content-Length: x\r\n\r\n", 400, "bad_request"),
        ("another encoding", HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400, "bad_request"),
        ("a chunk that is none", HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "bad_request"),
        ("a header of 40 KiB", b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "header_too_large"),
    ],
)
def test_what_is_no_request_is_refused_in_the_same_form(
    port: int, what: str, sent: bytes, status: int, code: str
) -> None:
    with connected(port) as connection:
        connection.sendall(sent)
        answered, headers, body = read_answer(connection)
    assert (answered, headers["content-type"]) == (status, "application/json"), what
    assert json.loads(body)["error"]["code"] == code


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("options", [[], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"], ["--http1.0"]])
def test_curl_gets_the_answer(port: int, tmp_path: Path, options: list[str]) -> None:
    upload = tmp_path / "large.zip"
    upload.write_bytes(bytes(20 * LIMIT))
    command = ["curl", "-s", "--noproxy", "*", "-F", f"image=@{upload}", *options, f"http://127.0.0.1:{port}/predict"]
    answer = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True).stdout
    assert json.loads(answer)["error"]["code"] == "request_entity_too_large"
