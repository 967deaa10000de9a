"""A sparse file to a host: neither holes nor what is there already are sent, and the host's own sums decide.

The file is cut into runs of data. The host hashes each, and those that differ are sent: so it goes on where it was
broken off, and what is found there is checked, with the same words.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from posixpath import dirname

import paramiko

from imagekit.errors import PublishError
from imagekit.publish.ssh.connection import Host
from imagekit.sparse import BLOCK, BlockMap

_GAP = 4  # empty blocks that are sent rather than making a run of their own
_LONGEST = 16  # blocks of a run: 8 MiB
_PIECE = 28672  # of a write: with its header one packet of SSH
_SPARE = 64 << 20  # bytes that a host's disk keeps beside the image
_ROUND = 16384  # runs whose sums are asked for at once: 1 MiB of answer
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

    @property
    def blocks(self) -> range:
        """The blocks' numbers."""
        return range(self.first, self.first + self.count)


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
        sums = {run: _sum(file.fileno(), run) for run in runs}
        begun = _create(host, files, target, blocks.length)
        wrong = _differing(host, target, sums) if begun else runs
        sent = 0
        for zeros in (False, True):  # what is zero is so in a new file, and was perhaps damaged in an old one
            if wrong:
                sender = _Sender(host, files, file.fileno(), target, blocks, go_on)
                sent += sender.write(wrong, zeros=zeros)
                host.run('sync "$1" 2>/dev/null || sync', target)
                wrong = _differing(host, target, {run: sums[run] for run in wrong})
    if wrong:
        raise PublishError(f"{host.address.named}: {target} is damaged", hint="publish it again")
    return sent


def is_there(host: Host, path: Path, blocks: BlockMap, target: str) -> bool:
    """Tell whether a file with this content lies there; holes are taken on trust."""
    runs = runs_of(blocks)
    with host.files() as files:
        if _size(files, target) != blocks.length:
            return False
    with path.open("rb", buffering=0) as file:
        sums = {run: _sum(file.fileno(), run) for run in runs}
    return not _differing(host, target, sums)


def has_length(host: Host, target: str, length: int) -> bool:
    """Tell whether a file of so many bytes lies there."""
    with host.files() as files:
        return _size(files, target) == length


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
        with files.open(target, "r+b" if begun else "wbx") as made:
            made.chmod(0o600)
            made.truncate(length)
    except OSError as error:
        raise _refused(host, target, error) from error
    return begun


class _Sender:
    """Writes to one file on a host."""

    def __init__(
        self, host: Host, files: paramiko.SFTPClient, source: int, target: str, blocks: BlockMap, go_on: GoOn
    ) -> None:
        self._host = host
        self._files = files
        self._source = source
        self._target = target
        self._length = blocks.length
        self._data = {index for index, _ in blocks.blocks}
        self._go_on = go_on

    def write(self, runs: Iterable[Run], *, zeros: bool) -> int:
        """Write runs, with or without their blocks of zeros; return the bytes that were sent."""
        sent = 0
        try:
            with self._files.open(self._target, "r+b") as made:
                made.set_pipelined(True)
                for run in runs:
                    blocks = [index for index in run.blocks if zeros or index in self._data]
                    sent += sum(self._write_block(made, index) for index in blocks)
                # The answers to all writes before it are only looked at by one that is not pipelined.
                made.set_pipelined(False)
                self._write_block(made, blocks[-1])
        except OSError as error:
            raise _refused(self._host, self._target, error) from error
        return sent

    def _write_block(self, made: paramiko.SFTPFile, index: int) -> int:
        data = os.pread(self._source, min(BLOCK, self._length - index * BLOCK), index * BLOCK)
        made.seek(index * BLOCK)
        for at in range(0, len(data), _PIECE):
            self._go_on()
            made.write(data[at : at + _PIECE])
        return len(data)


def _sum(source: int, run: Run) -> str:
    whole = hashlib.sha256()
    for index in run.blocks:
        whole.update(os.pread(source, BLOCK, index * BLOCK))
    return whole.hexdigest()


def _differing(host: Host, target: str, sums: Mapping[Run, str]) -> list[Run]:
    """Return the runs that the host has other sums of, asked for in rounds: an answer is of bounded length."""
    order = list(sums)
    rounds = [order[at : at + _ROUND] for at in range(0, len(order), _ROUND)]
    return [run for some in rounds for run in _differ(host, target, {one: sums[one] for one in some})]


def _differ(host: Host, target: str, sums: Mapping[Run, str]) -> list[Run]:
    words = "\n".join(f"h {run.first} {run.count}" for run in sums)
    said = host.checked(f"reading {target} back", _SUMS + words, target).splitlines()
    theirs = [line.split(maxsplit=1)[0] for line in said if line.strip()]
    if len(theirs) != len(sums):
        raise PublishError(f"{host.address.named}: reading {target} back failed", details="\n".join(said[-3:]))
    return [run for (run, own), their in zip(sums.items(), theirs, strict=True) if own != their]


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
