"""A root tar as one that stands alone: what it refers to is put in as it is written, nothing is kept on disk."""

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from imagekit.errors import TryAgainError
from imagekit.filesystem.parts import Part, read_part
from imagekit.plan import Input
from imagekit.root import Member, Reference, to_tarinfo


def write_stream(root: Path, inputs: Mapping[str, Input], part: Part, epoch: int, file: IO[bytes]) -> None:
    """Write a part of a root tar to a file, perhaps a pipe. `inputs` are the folders and tars that it refers to.

    Folders come a second time, last: GNU tar sets the times of one as soon as a member lies beside it, and names
    that follow later (hard links, `etc/x` after `etc-x`) would change them.
    """
    folders = []
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:
        top = to_tarinfo(Member(".", "dir", 0o755, epoch))
        tar.addfile(top)
        for member, content in read_part(root, part):
            info = to_tarinfo(member)
            if member.kind == "dir":
                folders.append(info)
            if member.reference is None:
                tar.addfile(info, content)
            else:
                _refer(tar, info, member.reference, inputs)
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has written
        for info in (*folders, top):
            tar.addfile(info)


def _refer(tar: tarfile.TarFile, info: tarfile.TarInfo, found: Reference, inputs: Mapping[str, Input]) -> None:
    source = inputs[found.input].path / found.path
    with source.open("rb") as content:
        content.seek(found.offset or 0)
        try:
            tar.addfile(info, content)
        except OSError as error:
            if error.errno is not None:
                raise
            raise TryAgainError(f"{source} became shorter while it was read", details=str(error)) from error
