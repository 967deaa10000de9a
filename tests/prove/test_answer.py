"""What a guest answers, good and bad; it may answer anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.prove.answer import Answer, read_answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "data, status, body",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", 200, b"hello"),
        (b"HTTP/1.0 200 OK\n\nto the end", 200, b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi"),
        (CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", 200, b"hello world"),
    ],
)
def test_good_answers(data: bytes, status: int, body: bytes) -> None:
    answer = read_answer(data)
    assert answer == Answer(status, body)
    assert answer.good


@pytest.mark.parametrize("status", [199, 301, 404, 500])
def test_an_answer_that_is_no_success(status: int) -> None:
    answer = read_answer(b"HTTP/1.1 %d Well\r\nContent-Length: 4\r\n\r\nbody" % status)
    assert (answer.status, answer.good) == (status, False)


@pytest.mark.parametrize(
    "data, body",
    [
        (b"", b""),
        (b"SSH-2.0-dropbear\r\n", b"SSH-2.0-dropbear\r\n"),
        (b"HTTP/1.1 OK\r\n\r\nbody", b"HTTP/1.1 OK\r\n\r\nbody"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\ncut of", b"cut of"),
        (CHUNKED + b"5\r\nhello\r\n6\r\n wo", b"hello"),
        (CHUNKED + b"no number\r\nhello", b""),
    ],
)
def test_what_is_cut_off_or_no_http_is_not_good(data: bytes, body: bytes) -> None:
    answer = read_answer(data)
    assert (answer.status, answer.good) == (0, False)
    assert answer.body == body or answer.body.startswith(body)


def test_a_long_answer_is_cut_and_good() -> None:
    size = 3 << 20
    for head in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size):
        answer = read_answer(head + bytes(size))
        assert (answer.good, len(answer.body)) == (True, 1 << 20)


HEADS = st.sampled_from(
    [b"", CHUNKED, b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: ", b"HTTP/1.1 ", b"HTTP/0.9"]
)
PIECES = st.sampled_from(
    [b"\r\n", b"-1", b"0", b"ffffffffff", b"100 ", b"HTTP/1.1 100\r\n\r\n", b":", b"\x00", b"5;"]
)


@given(HEADS, st.lists(st.one_of(st.binary(max_size=20), PIECES)))
def test_any_bytes_are_some_answer(head: bytes, pieces: list[bytes]) -> None:
    answer = read_answer(head + b"".join(pieces))
    assert 0 <= answer.status < 1000
    assert len(answer.body) <= 1 << 20
