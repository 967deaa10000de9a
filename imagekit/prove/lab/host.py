"""Runs programs out of the unpacked packages, by their own loader and libraries: the host's do not matter."""

import os
from collections.abc import Mapping
from pathlib import Path

from imagekit.command import run

_LIBRARIES = "x86_64-linux-gnu"
_LOADER = f"lib/{_LIBRARIES}/ld-linux-x86-64.so.2"


def run_unpacked(
    unpacked: Path, program: str, *arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None
) -> None:
    """Run one, whose path is given without the leading /."""
    libraries = ":".join(str(unpacked / folder / _LIBRARIES) for folder in ("lib", "usr/lib"))
    run(str(unpacked / _LOADER), "--library-path", libraries, unpacked / program, *arguments, env=env)
