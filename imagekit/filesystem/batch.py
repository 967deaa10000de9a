"""A batch of debugfs commands that finishes what mke2fs -d began.

debugfs reads a command a line and splits it as a shell would, with a doubled quote for a quote in quotes (libss,
parse.c). A line break cannot be said.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from imagekit.errors import RecipeError
from imagekit.filesystem.staging import Staged, carries_mode
from imagekit.root import Member

_LONGEST = 3900  # libss reads lines of 8 KiB, and a line may hold two names
_MODES = {
    "dir": 0o040000,
    "file": 0o100000,
    "char": 0o020000,
    "block": 0o060000,
    "fifo": 0o010000,
    "link": 0o120000,
}
_2038 = 1 << 31  # from here on a time needs more bits than debugfs and mke2fs write by themselves
_NODES = {"char": "c", "block": "b", "fifo": "p"}


def batch(staged: Staged, epoch: int) -> bytes:
    """Return the commands that write what is outside, and set owners, modes and times of everything."""
    lines = [*_stamps("/", Member("", "dir", 0o755, epoch), epoch, (0, 0))]
    inside = {member.path for member in staged.inside}
    links = Counter(member.target for member in staged.outside if member.kind == "hard")
    for folder, members in _by_folder(staged.members()):
        lines.append(f"cd {_quoted('/' + folder)}")
        # `ln` alone does not make room for a name.
        names = sum(len(os.fsencode(member.path)) + 12 for member in members if member.kind == "hard")
        lines += ["expand_dir ."] * -(-names // 1024)
        for member in members:
            lines += _commands(member, staged, epoch, inside=member.path in inside)
            if member.path in links:
                lines.append(f"sif {_quoted('./' + _name(member))} links_count {1 + links[member.path]}")
    return b"".join(os.fsencode(line) + b"\n" for line in lines)


def _commands(member: Member, staged: Staged, epoch: int, *, inside: bool) -> Iterator[str]:
    name = _quoted(_name(member))
    # Of a bare name, debugfs would take "<2>" for inode 2, and "-r" for an option.
    here = _quoted("./" + _name(member))
    if member.kind == "hard":
        if not inside:
            yield f"ln {_quoted('/' + member.target)} {name}"
        return
    if member.path in staged.sources:
        yield f"write {_quoted(staged.sources[member.path])} {name}"
    elif member.kind == "dir" and not inside:
        yield f"mkdir {name}"
    elif member.kind in _NODES:
        major, minor = member.device
        numbers = "" if member.kind == "fifo" else f" {major} {minor}"
        yield f"mknod {name} {_NODES[member.kind]}{numbers}"
    yield from _stamps(here, member, epoch, staged.owner if inside else None)
    for attribute, value in sorted(member.xattrs.items()):
        yield f"ea_set -f {_quoted(os.fspath(_value(staged, value)))} {here} {_quoted(attribute)}"


def _stamps(name: str, member: Member, epoch: int, copied: tuple[int, int] | None) -> Iterator[str]:
    """Yield what sets a member right; `copied` is the owner of one that mke2fs copied."""
    staged = copied is not None
    dressed = staged and carries_mode(member)
    if not dressed:
        yield f"sif {name} mode 0{_MODES[member.kind] | member.mode:o}"
    # What debugfs wrote belongs to 0:0 and is of the epoch until 2038; what mke2fs copied is the builder's.
    late = epoch >= _2038
    uid, gid = copied or (0, 0)
    if member.uid != uid:
        yield f"sif {name} uid {member.uid}"
    if member.gid != gid:
        yield f"sif {name} gid {member.gid}"
    if late or (not dressed if staged else member.mtime != epoch):
        yield f"sif {name} mtime @{member.mtime}"
    if staged or late:
        yield f"sif {name} atime @{epoch}"
        yield f"sif {name} ctime @{epoch}"
    if late:
        yield f"sif {name} crtime @{epoch}"


def _value(staged: Staged, value: bytes) -> Path:
    folder = staged.folder.with_name("xattrs")
    folder.mkdir(exist_ok=True)
    path = folder / sha256(value).hexdigest()
    path.write_bytes(value)
    return path


def _by_folder(members: Iterable[Member]) -> Iterator[tuple[str, list[Member]]]:
    folders: dict[str, list[Member]] = {}
    for member in members:
        folders.setdefault(member.path.rpartition("/")[0], []).append(member)
    # Hard links last: what they name is written by then.
    for folder in sorted(folders):
        yield folder, [member for member in folders[folder] if member.kind != "hard"]
    for folder in sorted(folders):
        hard = [member for member in folders[folder] if member.kind == "hard"]
        if hard:
            yield folder, hard


def _name(member: Member) -> str:
    return member.path.rpartition("/")[2]


def _quoted(text: str) -> str:
    if "\n" in text or len(os.fsencode(text)) > _LONGEST:
        raise RecipeError(
            f"{text[:80]!r} cannot be put into an ext file system",
            details=f"a line break in a name, or a path of more than {_LONGEST} bytes",
            hint="rename it",
        )
    return '"' + text.replace('"', '""') + '"'
