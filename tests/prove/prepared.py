"""The labs that the tests share: made once, and kept in build/."""

from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

from imagekit import programs
from imagekit.errors import ToolError
from imagekit.kernel import Way
from imagekit.prove import Laboratory
from imagekit.prove.lab import HVM, PLAIN, load
from imagekit.prove.laboratory import variant_for
from tests.conftest import ROOT

CACHE = ROOT / "build" / "lab-cache"
LAB = CACHE / PLAIN.name


@cache
def prepared(way: Way | None = None) -> Path:
    """Return a cache with the lab that a way needs; a machine that can have none is left out, with the reason."""
    if programs.find("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is missing")
    CACHE.mkdir(parents=True, exist_ok=True)
    variant = variant_for(way)
    with FileLock(CACHE.with_name("lab-cache.lock")):
        if load(CACHE / variant.name / "dom0", variant) is None:
            try:
                Laboratory(CACHE, CACHE / "state", note=print).prepare(way)
            except ToolError as error:
                if "apt" not in error.brief:
                    raise
                pytest.skip(f"the lab's packages cannot be fetched: {error}")
    return CACHE


def strangers() -> set[str]:
    """Return what lies in the labs' folders and should not: nothing is left by a boot, however it ends."""
    known = {"dom0", ".dom0.lock", "lock", "accelerator"}
    folders = [folder for folder in (CACHE / PLAIN.name, CACHE / HVM.name) if folder.exists()]
    return {path.name for folder in folders for path in folder.iterdir()}.difference(
        known, *map(machines, folders)
    )


def machines(folder: Path) -> set[str]:
    """Return the files of a lab's saved machine."""
    saved = {path.stem for path in folder.glob("machine-*.json")}
    return {name for stem in saved for name in (stem, f"{stem}.json")}
