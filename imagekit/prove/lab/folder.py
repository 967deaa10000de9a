"""Packages from a folder of .deb files: for a machine without Debian 12's sources, or without a network."""

import re
from collections.abc import Iterable, Sequence
from functools import cmp_to_key
from hashlib import file_digest
from pathlib import Path

from imagekit.command import run
from imagekit.errors import ToolError
from imagekit.prove.lab.debs import Deb, missing
from imagekit.prove.lab.names import KERNEL

_KERNEL = re.compile(r"linux-image-\d[\w.+~]*-\d+-amd64")  # no -cloud-, no -rt-
_ARCHITECTURES = ("amd64", "all")
_FIELDS = ("Package", "Version", "Architecture")


class DebFolder:
    """The .deb files of a folder, of which `packages` are wanted."""

    def __init__(self, folder: Path, packages: tuple[str, ...]) -> None:
        self._folder = folder
        self._packages = packages

    def wanted(self) -> tuple[Deb, ...]:
        """Return the newest of each package, by what the files themselves say."""
        by_name: dict[str, list[tuple[str, Path]]] = {}
        for name, version, file in self._found():
            by_name.setdefault(KERNEL if _KERNEL.fullmatch(name) else name, []).append((version, file))
        if absent := [name for name in self._packages if name not in by_name]:
            raise missing(absent, str(self._folder))
        newest = {name: max(by_name[name], key=_by_version) for name in self._packages}
        return tuple(_deb(name, version, file) for name, (version, file) in newest.items())

    def fetch(self, debs: Iterable[Deb]) -> list[Path]:
        """Return where they are."""
        return [self._folder / deb.file for deb in debs]

    def _found(self) -> Iterable[tuple[str, str, Path]]:
        if not self._folder.is_dir():
            raise ToolError(f"{self._folder}: no folder")
        for file in sorted(self._folder.glob("*.deb")):
            name, version, architecture = _fields(file)
            known = (name in self._packages and name != KERNEL) or _KERNEL.fullmatch(name)
            if known and architecture in _ARCHITECTURES:
                yield name, version, file


def _fields(file: Path) -> Sequence[str]:
    said = run("dpkg-deb", "-f", file, *_FIELDS).text().splitlines()
    told = dict(line.split(": ", 1) for line in said if ": " in line)
    return [told.get(field, "") for field in _FIELDS]


def _deb(name: str, version: str, file: Path) -> Deb:
    with file.open("rb") as stream:
        return Deb(name, version, file_digest(stream, "sha256").hexdigest(), file.name)


def _newer(left: tuple[str, Path], right: tuple[str, Path]) -> int:
    if left[0] == right[0]:
        return 0
    status = run("dpkg", "--compare-versions", left[0], "gt", right[0], ok=(0, 1)).status
    return -1 if status else 1


_by_version = cmp_to_key(_newer)
