"""What a shared store stands on: files by name, each whole or not there, and what went wrong with them."""

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

from imagekit.errors import BuildError, TryAgainError, UsageError

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([\w./=+@-]*))?", re.ASCII)
PATIENCE = 20.0
"""Seconds that any answer may take."""
SLOWEST = 256 * 1024
"""Bytes a second: what is slower is made here sooner."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file of a store: its name, its bytes, and when it was last written or used, in seconds since 1970."""

    name: str
    size: int
    used: float


class Backend(Protocol):
    """Files by name: text with slashes. Everything raises TryAgainError for what passes, else BuildError."""

    url: str
    private: bool

    def reading(self, name: str) -> AbstractContextManager["tuple[IO[bytes], Item] | None"]:
        """Lend a file and what is known of it, None when there is none."""

    def has(self, name: str) -> Item | None:
        """Return what is known of a file, None when there is none."""

    def put(self, name: str, file: Path, *, replace: bool) -> bool:
        """Put a whole file; unless `replace`, False when there is one already."""

    def use(self, name: str) -> None:
        """Mark a file as used now."""

    def items(self, folder: str) -> Iterator[Item]:
        """Yield what lies below a folder, in any order."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; those that are gone are no error."""

    def sweep(self, age: float) -> int:
        """Remove what writers that died left, older than so many seconds; return how many."""


class Paced:
    """A stream that must not be slower than a store is worth; TryAgainError when it is."""

    def __init__(self, stream: IO[bytes], size: int, url: str) -> None:
        self._stream = stream
        self._url = url
        self._until = time.monotonic() + PATIENCE + size / SLOWEST

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, or fewer."""
        if time.monotonic() > self._until:
            raise down(self._url, "it is too slow")
        try:
            return self._stream.read(size)
        except OSError as error:
            raise down(self._url, error.strerror or str(error)) from error


def backend(url: str) -> Backend:
    """Return the backend of s3://bucket/prefix or file:///path; UsageError for what is neither."""
    if match := _S3.fullmatch(url):
        from imagekit.store.s3 import S3  # noqa: PLC0415 -- an extra's

        return S3(match[1], (match[2] or "").strip("/"))
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and path.startswith("/"):
        from imagekit.store.folder import Folder  # noqa: PLC0415 -- as above

        return Folder(Path(path))
    raise UsageError(f"{url}: no store", hint="s3://BUCKET/PREFIX or file:///PATH")


def denied(url: str, details: str) -> BuildError:
    """Return the error for a store that does not let us."""
    return BuildError(f"the store {url} refuses", details=details)


def down(url: str, details: str) -> TryAgainError:
    """Return the error for a store that does not answer as it should, which may pass."""
    return TryAgainError(f"the store {url} does not work", details=details)
