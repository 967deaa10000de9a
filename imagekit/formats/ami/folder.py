"""A bundle's files: parts and manifest beside each other, there when they are whole or not at all."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from glob import escape
from pathlib import Path
from stat import S_ISREG
from threading import get_ident

from cryptography.hazmat.primitives.asymmetric import rsa

from imagekit.errors import BuildError, TryAgainError, UnsuitedError, UsageError, VerificationError
from imagekit.formats.ami import keys
from imagekit.formats.ami.bundle import Owner, Sums, encrypted, image_of, manifest_of, open_manifest
from imagekit.formats.ami.manifest import LARGEST_IMAGE, PART, SUFFIX, Machine, Manifest, Part, from_xml
from imagekit.formats.ami.tar import Run
from imagekit.formats.stream import PIECE
from imagekit.sparse import BLOCK, extents
from imagekit.store import full_disk

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ZERO = bytes(BLOCK)
_THREADS = min(4, os.cpu_count() or 1)


def bundle(image: Path, folder: Path, name: str, machine: Machine, owner: Owner, secrets: keys.Secrets) -> Path:
    """Bundle a raw image into a folder, and return the manifest's path."""
    manifest = folder / f"{name}{SUFFIX}"
    with bundling(image, manifest, name, machine, owner, secrets) as appear:
        appear()
    return manifest


@contextmanager
def bundling(
    image: Path, manifest: Path, name: str, machine: Machine, owner: Owner, secrets: keys.Secrets
) -> Iterator[Callable[[], list[Path]]]:
    """Bundle a raw image beside a manifest's path, under no names yet.

    The function that is lent gives the files their names, the manifest last, and returns the parts' paths.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a bundle's name", hint="--name: letters, digits, and . _ - in between"
        )
    folder = manifest.parent
    with _opened(image) as descriptor, _workplace(folder, name) as work:
        before = _state(descriptor)
        size = before[0]
        if not 0 < size <= LARGEST_IMAGE:
            raise UnsuitedError(
                f"{image} has {size} bytes: an image for instance store has 10 GiB at most, and not none",
                hint="--target ebs has room for more" if size else "",
            )
        sums = Sums()
        stream = encrypted(name, size, _runs(descriptor, size), _reader(image, descriptor), secrets, sums)
        digests = list(_cut(stream, work))
        if _state(descriptor) != before:
            raise TryAgainError(f"{image} was changed while it was read")
        width = len(str(len(digests) - 1))
        parts = [Part(f"{name}.part.{index:0{width}}", digest) for index, digest in enumerate(digests)]
        (work / "manifest").write_bytes(manifest_of(name, size, machine, owner, secrets, parts, sums))
        yield partial(_appear, work, manifest, name, parts)


def unbundle(manifest: Path, out: Path, private: rsa.RSAPrivateKey) -> Manifest:
    """Write the image of a bundle to `out`, every digest and the signature checked; nothing is there before."""
    try:
        data = manifest.read_bytes()
    except OSError as error:
        raise UsageError(f"{manifest} cannot be read", details=error.strerror or "") from error
    read = from_xml(data)
    secrets = open_manifest(read, private)
    found = read.manifest
    paths = [manifest.parent / part.name for part in found.parts]
    if out.resolve() in {path.resolve() for path in (manifest, *paths)}:
        raise UsageError(f"{out} is a file of the bundle", hint="-o names another")
    _check_sizes(paths, found)
    with _workplace(out.parent, out.name) as work:
        draft = work / "image"
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(descriptor, found.size)
            for offset, piece in image_of(_joined(paths, found.parts), found, secrets):
                _write(descriptor, offset, piece)
        finally:
            os.close(descriptor)
        draft.replace(out)
    return found


def _check_sizes(paths: Sequence[Path], manifest: Manifest) -> None:
    """Say that a part is missing or too short before anything is read."""
    total = 0
    for path in paths:
        with _opened(path, VerificationError) as descriptor:
            total += os.fstat(descriptor).st_size
    if total != manifest.bundled_size:
        raise VerificationError(
            f"the parts have {total} bytes, and the manifest says {manifest.bundled_size}",
            details="one of them is cut off, or of another bundle",
        )


def _joined(paths: Sequence[Path], parts: Sequence[Part]) -> Iterator[bytes]:
    for path, part in zip(paths, parts, strict=True):
        digest = hashlib.sha1(usedforsecurity=False)
        with _opened(path, VerificationError) as descriptor:
            while piece := os.read(descriptor, PIECE):
                digest.update(piece)
                yield piece
        if digest.hexdigest() != part.digest:
            raise VerificationError(
                f"{path} is damaged", details=f"SHA1 is {digest.hexdigest()}, and the manifest says {part.digest}"
            )


def _write(descriptor: int, offset: int, piece: bytes) -> None:
    """Write a piece, what is zero in it left as a hole."""
    view = memoryview(piece)
    for at in range(0, len(view), BLOCK):
        block = view[at : at + BLOCK]
        if block == _ZERO[: len(block)]:
            continue
        where = offset + at
        while block:
            done = os.pwrite(descriptor, block, where)
            block, where = block[done:], where + done


def _runs(descriptor: int, size: int) -> list[Run]:
    """Return where blocks are not all zero: the same runs whatever holes the file has."""

    def has_data(index: int) -> bool:
        data = os.pread(descriptor, BLOCK, index * BLOCK)
        return data != _ZERO[: len(data)]

    touched = sorted(
        {index for start, end in extents(descriptor, size) for index in range(start // BLOCK, -(-end // BLOCK))}
    )
    runs: list[Run] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(touched), 64):
            some = touched[first : first + 64]
            for index, data in zip(some, pool.map(has_data, some), strict=True):
                offset, length = index * BLOCK, min(BLOCK, size - index * BLOCK)
                if data and runs and sum(runs[-1]) == offset:
                    runs[-1] = (runs[-1][0], runs[-1][1] + length)
                elif data:
                    runs.append((offset, length))
    return runs


def _reader(path: Path, descriptor: int) -> Callable[[int, int], bytes]:
    def read_at(offset: int, length: int) -> bytes:
        data = os.pread(descriptor, length, offset)
        if len(data) != length:
            raise TryAgainError(f"{path} became shorter while it was read")
        return data

    return read_at


def _cut(stream: Iterator[bytes], work: Path) -> Iterator[str]:
    """Write parts as work/0, work/1, … and yield the SHA-1 of each; none is empty."""
    left = b""
    index = 0
    while left or (left := next(stream, b"")):
        digest = hashlib.sha1(usedforsecurity=False)
        room = PART
        with (work / str(index)).open("xb", buffering=0) as file:
            while room and (left or (left := next(stream, b""))):
                piece, left = left[:room], left[room:]
                room -= len(piece)
                digest.update(piece)
                while piece:
                    piece = piece[file.write(piece) :]
        yield digest.hexdigest()
        index += 1


def _appear(work: Path, manifest: Path, name: str, parts: Sequence[Part]) -> list[Path]:
    """Give all files their names, the manifest last; parts of an older bundle that was longer go."""
    folder = manifest.parent
    manifest.unlink(missing_ok=True)  # it would speak of parts that are others now
    for index, part in enumerate(parts):
        (work / str(index)).replace(folder / part.name)
    ours = {part.name for part in parts}
    old = re.compile(re.escape(name) + r"\.part\.[0-9]+")
    for path in folder.iterdir():
        if old.fullmatch(path.name) and path.name not in ours:
            path.unlink()
    (work / "manifest").replace(manifest)
    return [folder / part.name for part in parts]


@contextmanager
def _workplace(folder: Path, name: str) -> Iterator[Path]:
    """Make a hidden folder for what is not whole yet; those of the dead, whose locks are free, are swept up."""
    work = folder / f".{name}.{os.getpid()}.{get_ident()}.imagekit"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, name)
        work.mkdir()
        lock = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not work.exists():
                raise TryAgainError(f"another imagekit swept {folder} up at this moment")
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
            os.close(lock)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise full_disk(folder, "make room there, or name another place with -o") from error
        raise BuildError(f"{folder} cannot be written", details=error.strerror or str(error)) from error


def _sweep(folder: Path, name: str) -> None:
    for left in folder.glob(f".{escape(name)}.*.imagekit"):
        with suppress(OSError):
            lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
            finally:
                os.close(lock)


@contextmanager
def _opened(path: Path, error_class: type[UsageError | VerificationError] = UsageError) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise error_class(f"{path} cannot be read", details=error.strerror or "") from error
    try:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            raise error_class(f"{path} is no plain file")
        yield descriptor
    finally:
        os.close(descriptor)


def _state(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
