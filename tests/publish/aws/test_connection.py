"""Answers that no AWS gives: bounded, typed, and never a traceback of another kind."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.publish.aws.connection import LARGEST, Answer, Connection, WireError
from imagekit.rehearsal.certificate import certify

pytest.importorskip("cryptography")
Served = Callable[..., Connection]
OK = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return certify(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def served(tls: tuple[ssl.SSLContext, Path]) -> Generator[Served, None, None]:
    """A server that reads something and answers with the bytes it was given, whatever they are, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    context, trusted = tls
    answers: list[list[bytes]] = []
    opened: list[Connection] = []

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as client:
                    client.settimeout(3)
                    client.recv(100)
                    for part in answers[-1]:
                        client.sendall(part)
                        time.sleep(0.05 if len(answers[-1]) > 1 else 0)
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def make(*parts: bytes, limit: float = 2.0) -> Connection:
        answers.append(list(parts))
        client = ssl.create_default_context(cafile=trusted)
        endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}"
        opened.append(Connection(endpoint, client, read_limit=limit))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize(
    "answer, body",
    [
        (OK, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.0 201 Created\r\n\r\nuntil the end", b"until the end"),
        (
            b"HTTP/1.1 201 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x=y\r\n!\r\n0\r\nA: b\r\n\r\n",
            b"ok!",
        ),
        (b"HTTP/1.1 204 x\r\n\r\n", b""),
    ],
)
def test_answers(served: Served, answer: bytes, body: bytes) -> None:
    assert served(answer).exchange(b"x").body == body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 201",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 999 x\r\n\r\n",
        b"HTTP/1.1 201 x\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 201 x\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 201 x\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 201 x\r\n\r\n" + bytes(2 * LARGEST),
        b"HTTP/1.1 201 x\r\nA: " + b"a" * 2 * LARGEST,
        b"HTTP/1.1 201 x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
        b"HTTP/1.1 201 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX",
    ],
)
def test_broken_answers(served: Served, answer: bytes) -> None:
    with pytest.raises(WireError):
        served(answer).exchange(b"x")


def test_a_server_that_drips(served: Served) -> None:
    begun = time.monotonic()
    with pytest.raises(WireError, match="did not move"):
        served(*[bytes([one]) for one in OK], limit=0.3).exchange(b"x")
    assert time.monotonic() - begun < 1.5


def test_a_stale_connection_is_opened_again(served: Served) -> None:
    connection = served(OK)
    connection.exchange(b"x")
    time.sleep(0.1)  # the server has closed, and said nothing of it
    connection.exchange(b"x")
    assert connection.opened == 2


@settings(max_examples=50)
@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 400 x\r\n"]))
def test_any_answer_is_an_answer_or_a_wire_error(served: Served, data: bytes, start: bytes) -> None:
    connection = served(start + data, limit=1)
    try:
        answer = connection.exchange(b"x")
    except WireError:
        return
    finally:
        connection.close()
    answer.error(["secret"])


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_an_error_is_made_of_any_body(body: bytes) -> None:
    made = Answer(400, {}, body).error(["secret", None, ""])
    assert str(made).isprintable() or "\n" in str(made)


def test_errors_are_typed_and_clean() -> None:
    body = b'{"__type":"com.amazon#X","Message":"a secret/+ \\u001b[31m","Reason":"R"}'
    made = Answer(400, {}, body).error(["secret/+", "secret"])
    assert (made.code, made.reason, made.message) == ("X", "R", "a ***  [31m")
    throttled = Answer(400, {"x-amzn-errortype": "ThrottlingException:http://x"}, b"{}").error([])
    assert throttled.throttled
    assert throttled.code == "ThrottlingException"
    assert Answer(503, {}, b"[" * 60000).error([]).passing
    slow = Answer(400, {}, b'{"Message":"Failed to read block data"}').error([])
    assert slow.passing
