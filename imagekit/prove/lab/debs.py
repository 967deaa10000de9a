"""A Debian package that a lab is made of, and how it is unpacked."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from imagekit.command import run
from imagekit.errors import ToolError

_AT_ONCE = 2  # xz unpacks at 60 MB/s: two cores are better than one


@dataclass(frozen=True, slots=True)
class Deb:
    """One package: its name, version, the SHA-256 of its file (hex), and the file's name."""

    name: str
    version: str
    digest: str
    file: str


class Source(Protocol):
    """Where packages come from."""

    def wanted(self) -> tuple[Deb, ...]:
        """Return the packages that a lab would be made of now; ToolError names the missing ones."""
        ...

    def fetch(self, debs: Iterable[Deb]) -> list[Path]:
        """Bring their files here, and return where they are."""
        ...


def key_of(debs: Iterable[Deb]) -> str:
    """Return one SHA-256 (hex) for a set of packages."""
    return sha256("\n".join(sorted(f"{deb.name} {deb.digest}" for deb in debs)).encode()).hexdigest()


def missing(names: Iterable[str], where: str, details: str = "") -> ToolError:
    """Return the error for packages that are nowhere to be had."""
    listed = ", ".join(sorted(names))
    return ToolError(
        f"{where}: no package {listed}",
        details=details,
        hint="the lab is made of Debian 12 (amd64): run `apt-get download` for them where its sources are, "
        "then give the folder: --prepare --from DIR",
    )


def unpack(files: Iterable[Path], folder: Path) -> None:
    """Unpack package files into one folder, without running any script of theirs."""
    # The largest first: it decides how long all take.
    order = sorted(files, key=lambda file: -file.stat().st_size)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(run, "dpkg-deb", "-x", file, folder) for file in order]:
            done.result()
