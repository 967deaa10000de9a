"""What a guest answered over HTTP, parsed by the standard library from the raw bytes."""

import http.client
import io
from dataclasses import dataclass
from typing import cast

_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A status (0: no HTTP) and a body, at most 1 MiB of it."""

    status: int
    body: bytes

    @property
    def good(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300  # noqa: PLR2004 -- RFC 9110


class _Wire:
    """As much of a socket as http.client needs to parse an answer."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def read_answer(data: bytes) -> Answer:
    """Parse an answer; what is no HTTP has the status 0 and all its bytes as the body."""
    response = http.client.HTTPResponse(cast("http.client.socket", _Wire(data)))  # type: ignore[name-defined]
    try:
        response.begin()
        body = response.read(_MOST)
        whole = not response.length or len(body) == _MOST
        return Answer(response.status if whole else 0, body)
    except http.client.IncompleteRead as error:
        return Answer(0, error.partial[:_MOST])
    except (http.client.HTTPException, ValueError, OSError):
        return Answer(0, data[:_MOST])
