"""SHA256SUMS, as sha256sum of coreutils writes and checks it, and the digests that statements name."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from imagekit.errors import VerificationError
from imagekit.provenance import strict
from imagekit.sparse import fingerprint, walk

_LINE = re.compile(r"(?P<escaped>\\?)(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def sha256(path: Path) -> str:
    """Return what `sha256sum` prints of a file, 64 hex characters; read once while it does not change."""
    return _sha256(path.absolute(), fingerprint(path))


@lru_cache
def _sha256(path: Path, _state: bytes) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory_hash(folder: Path) -> str:
    """Return `dirHash` of in-toto's DigestSet: SHA-256 over the lines that sha256sum prints for all files.

    They are sorted by name, and links and modes do not count; 64 hex characters.
    """
    start = len(os.path.join(folder, ""))
    names = [entry.path for entry in walk(folder, every=True) if entry.kind in {"file", "exec"}]
    whole = hashlib.sha256()
    for name in sorted(names, key=os.fsencode):
        whole.update(f"{sha256(Path(name))}  ".encode() + os.fsencode(name[start:]) + b"\n")
    return whole.hexdigest()


def to_bytes(files: Iterable[tuple[str, str]]) -> bytes:
    """Return the file of (name, SHA-256) pairs, in their order."""
    return b"".join(_line(name, digest) for name, digest in files)


def parse(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Yield the (name, SHA-256) pairs of a file; VerificationError for a line that is none."""
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise VerificationError(f"{where}: line {number} is none of sha256sum's", details=repr(line)[:100])
        name = match["name"]
        if match["escaped"]:
            name = re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], name)
        yield name, match["digest"]


def check(path: Path, main: str) -> int:
    """Compare all files that a SHA256SUMS names with what lies beside it; return how many there are.

    VerificationError for the first that differs, for a name of another folder, and where `main` is not named.
    """
    names = []
    for name, digest in parse(strict.read(path), str(path)):
        check_file(path.parent, name, digest, str(path))
        names.append(name)
    if main not in names:
        raise VerificationError(f"{path} says nothing of {main}")
    return len(names)


def check_file(folder: Path, name: str, digest: str, where: str) -> None:
    """VerificationError unless the file of this name, in this folder and no other, has that SHA-256."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise VerificationError(f"{where} names a file of another folder", details=repr(name)[:100])
    path = folder / name
    try:
        found = sha256(path)
    except OSError as error:
        raise VerificationError(f"{where} tells of {path}", details=str(error.strerror)) from error
    if found != digest:
        raise VerificationError(f"{path} is not what {where} tells of", details=f"SHA-256 {found}, not {digest}")


def _line(name: str, digest: str) -> bytes:
    """Return a line; as coreutils has it, a name with a backslash or a line's end is escaped."""
    told = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return os.fsencode(f"{chr(92) if told != name else ''}{digest}  {told}\n")
