"""A sparse file to a host: neither holes nor what is there already are sent, and the host's own sums decide.

The file is cut into runs of data. The host hashes each, and those that differ are sent: so it goes on where it was
broken off, and what is found there is checked, with the same words.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname

import paramiko

from imagekit.errors import PublishError
from imagekit.publish.ssh.connection import Host
from imagekit.sparse import BLOCK, BlockMap

_GAP = 16  # empty blocks that are sent rather than making a run of their own
_LONGEST = 64  # blocks of a run: 32 MiB
_PIECE = 32768  # of a write: SFTP's largest that every server takes
_SPARE = 64 << 20  # bytes that a host's disk keeps beside the image
_SUMS = """
f=$1
h() { dd if="$f" bs=524288 skip="$1" count="$2" 2>/dev/null | sha256sum; }
"""

GoOn = Callable[[], None]
"""Called every now and then; raises when the user ends it."""


@dataclass(frozen=True)
class Run:
    """Blocks in a row, of which some may be zeros."""

    first: int
    count: int


def runs_of(blocks: BlockMap) -> list[Run]:
    """Return the runs that hold all data of a file."""
    runs: list[Run] = []
    for index, _ in blocks.blocks:
        last = runs[-1] if runs else Run(-_LONGEST, 0)
        if index - (last.first + last.count) <= _GAP and index - last.first < _LONGEST:
            runs[-1] = Run(last.first, index - last.first + 1)
        else:
            runs.append(Run(index, 1))
    return runs


def send(host: Host, path: Path, blocks: BlockMap, target: str, go_on: GoOn) -> int:
    """Bring a file's content to `target` on the host; return the bytes that were sent.

    What is at `target` already is taken for an attempt to go on with. PublishError when the host's disk is full,
    or when what lies there in the end has other sums.
    """
    runs = runs_of(blocks)
    with path.open("rb", buffering=0) as file, host.files() as files:
        sums = [_sum(file.fileno(), run) for run in runs]
        begun = _create(host, files, target, blocks.length)
        wrong = _differing(host, target, runs, sums) if begun else runs
        sent = _write(host, files, file.fileno(), target, wrong, blocks.length, go_on)
        host.run('sync "$1" 2>/dev/null || sync', target)
        if wrong and _differing(host, target, runs, sums):
            raise PublishError(f"{host.address.named}: {target} is damaged", hint="publish it again")
    return sent


def is_there(host: Host, path: Path, blocks: BlockMap, target: str) -> bool:
    """Tell whether a file with this content lies there; holes are taken on trust."""
    runs = runs_of(blocks)
    with host.files() as files:
        if _size(files, target) != blocks.length:
            return False
    with path.open("rb", buffering=0) as file:
        sums = [_sum(file.fileno(), run) for run in runs]
    return not _differing(host, target, runs, sums)


def check_room(host: Host, folder: str, needed: int) -> None:
    """Make the folder, and see whether so many bytes have room in it; PublishError when they have not."""
    script = 'mkdir -p -- "$1" && cd -- "$1" && df -Pk . | tail -n 1'
    said = host.checked(f"making the folder {folder}", script, folder).split()
    free = int(said[3]) * 1024 if len(said) > 3 and said[3].isdigit() else None  # noqa: PLR2004 -- df's column
    if free is not None and free < needed + _SPARE:
        raise PublishError(
            f"{host.address.named}: {folder} has no room for the image",
            details=f"{free >> 20} MiB are free, and {needed >> 20} MiB are sent",
        )


def _create(host: Host, files: paramiko.SFTPClient, target: str, length: int) -> bool:
    """Make the file at its whole length, or find it; tell whether something was there."""
    begun = _size(files, target) is not None
    try:
        with files.open(target, "r+b" if begun else "xb") as made:
            made.chmod(0o600)
            made.truncate(length)
    except OSError as error:
        raise _refused(host, target, error) from error
    return begun


def _write(
    host: Host, files: paramiko.SFTPClient, source: int, target: str, runs: Iterable[Run], length: int, go_on: GoOn
) -> int:
    sent = 0
    try:
        with files.open(target, "r+b") as made:
            made.set_pipelined(True)
            for run in runs:
                made.seek(run.first * BLOCK)
                for data in _pieces(source, run, length):
                    go_on()
                    made.write(data)
                    sent += len(data)
                # The answers to all writes before it are only looked at by one that is not pipelined.
                made.set_pipelined(False)
                made.seek(run.first * BLOCK)
                made.write(os.pread(source, 1, run.first * BLOCK))
                made.set_pipelined(True)
    except OSError as error:
        raise _refused(host, target, error) from error
    return sent


def _pieces(source: int, run: Run, length: int) -> Iterator[bytes]:
    end = min((run.first + run.count) * BLOCK, length)
    for at in range(run.first * BLOCK, end, _PIECE):
        yield os.pread(source, min(_PIECE, end - at), at)


def _sum(source: int, run: Run) -> str:
    whole = hashlib.sha256()
    for index in range(run.first, run.first + run.count):
        whole.update(os.pread(source, BLOCK, index * BLOCK))
    return whole.hexdigest()


def _differing(host: Host, target: str, runs: list[Run], sums: list[str]) -> list[Run]:
    """Return the runs that the host has other sums of."""
    if not runs:
        return []
    words = "\n".join(f"h {run.first} {run.count}" for run in runs)
    said = host.checked(f"reading {target} back", _SUMS + words, target).splitlines()
    theirs = [line.split(maxsplit=1)[0] for line in said if line.strip()]
    if len(theirs) != len(runs):
        raise PublishError(f"{host.address.named}: reading {target} back failed", details="\n".join(said[-3:]))
    return [run for run, own, their in zip(runs, sums, theirs, strict=True) if own != their]


def _size(files: paramiko.SFTPClient, target: str) -> int | None:
    try:
        return files.stat(target).st_size
    except FileNotFoundError:
        return None


def _refused(host: Host, target: str, error: OSError) -> Exception:
    """Return the error for a write that the host refused, with its reason: SFTP itself only says "Failure"."""
    if str(error) == "Socket is closed" or isinstance(error, ConnectionError | TimeoutError):
        return error
    said = host.run('cd -- "$1" && df -Pk . | tail -n 1', dirname(target)).out.split()
    full = len(said) > 3 and said[3].isdigit() and int(said[3]) < _SPARE >> 10  # noqa: PLR2004 -- df's column
    why = "the disk is full" if full else str(error)
    return PublishError(f"{host.address.named}: {target} cannot be written: {why}")
