"""The lab that the tests share: made once, and kept in build/."""

from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

from imagekit import programs
from imagekit.errors import ToolError
from imagekit.prove import Laboratory
from imagekit.prove.lab import load
from tests.conftest import ROOT

CACHE = ROOT / "build" / "lab-cache"
LAB = CACHE / "lab"


@cache
def prepared() -> Path:
    """Return a cache with a prepared lab; a machine that can have none is left out, with the reason."""
    if programs.find("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is missing")
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE.with_name("lab-cache.lock")):
        if load(LAB / "dom0") is None:
            try:
                Laboratory(CACHE, CACHE / "state", note=print).prepare()
            except ToolError as error:
                if "apt" not in error.brief:
                    raise
                pytest.skip(f"the lab's packages cannot be fetched: {error}")
    return CACHE


def strangers() -> set[str]:
    """Return what lies in the lab's folder and should not: nothing is left by a boot, however it ends."""
    known = {"dom0", ".dom0.lock", "lock", "accelerator"}
    return {path.name for path in LAB.iterdir() if path.name not in known} - machines()


def machines() -> set[str]:
    """Return the saved machine's files."""
    saved = {path.stem for path in LAB.glob("machine-*.json")}
    return {name for stem in saved for name in (stem, f"{stem}.json")}
