"""What lies in a root tar, as far as an SBOM tells of it: files that were brought, packages of a system."""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from imagekit.errors import BuildError
from imagekit.provenance.packages import Package, read_apk, read_dpkg, read_os_release
from imagekit.root import Member, Reference, read_root

_PIECE = 1 << 20
_LARGEST = 64 << 20  # bytes of a package database: Debian's with all packages has 60 MB
_DPKG = "var/lib/dpkg/status"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_RELEASE = ("etc/os-release", "usr/lib/os-release")
_TREE = "files-from"  # the inputs of `root.from`; those of `root.files` end with a number


@dataclass
class Contents:
    """`files` maps a path in the image to its SHA-256; `release` is the system's os-release."""

    files: dict[str, str] = field(default_factory=dict)
    packages: list[Package] = field(default_factory=list)
    release: dict[str, str] = field(default_factory=dict)


def contents(root: Path, inputs: Mapping[str, Path]) -> Contents:
    """Return what lies in a root tar; `inputs` are the files and folders that it refers to.

    The files of a tree of `root.from` are not listed one by one: its packages tell of them.
    """
    found = Contents()
    for member, inside in read_root(root):
        if member.kind != "file":
            continue
        reference = member.reference
        if member.path in {_DPKG, *_APK, *_RELEASE}:
            with _opened(member, inside, inputs) as file:
                _read(found, member.path, file.read(_LARGEST))
        elif reference is None or not reference.input.startswith(_TREE):
            with _opened(member, inside, inputs) as file:
                found.files[f"/{member.path}"] = _sha256(file)
    return found


def _read(found: Contents, path: str, data: bytes) -> None:
    if path == _DPKG:
        found.packages += read_dpkg(data)
    elif path in _APK:
        found.packages += read_apk(data)
    else:
        found.release = {**read_os_release(data), **found.release}


@contextmanager
def _opened(member: Member, inside: IO[bytes] | None, inputs: Mapping[str, Path]) -> Iterator[IO[bytes]]:
    """Open a file's bytes where they lie: in the root tar, in a folder, or in another tar."""
    if inside is not None:
        yield inside
        return
    reference = member.reference
    if reference is None:
        yield io.BytesIO()
        return
    try:
        with _place(reference, inputs).open("rb") as file:
            file.seek(reference.offset or 0)
            yield file if reference.offset is None else io.BytesIO(file.read(member.size))
    except OSError as error:
        raise BuildError(f"/{member.path} cannot be read again", details=str(error)) from error


def _place(reference: Reference, inputs: Mapping[str, Path]) -> Path:
    path = inputs[reference.input]
    return path if reference.offset is not None or not reference.path else Path(os.path.join(path, reference.path))


def _sha256(file: IO[bytes]) -> str:
    whole = hashlib.sha256()
    while piece := file.read(_PIECE):
        whole.update(piece)
    return whole.hexdigest()
