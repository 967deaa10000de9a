"""Rows of VHD: raw to VHD and back, as a library call and as a whole process, against qemu-img."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.measure import Figures, rounds

ROOT = Path(__file__).parents[1]
IMAGEKIT = str(Path(sys.executable).with_name("imagekit"))
MIB, GIB = 1 << 20, 1 << 30
MEMORY = 120 * MIB
RATIO = 0.7  # of qemu-img's speed
SPARSE = 0.3  # seconds
Row = tuple[str, str, Figures, str]


def rows(work: Path, runs: int, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows of 1 GiB at random, and of 10 GiB that hold 8 MiB."""
    full, little = work / "full.raw", work / "little.raw"
    random(full, GIB, range(0, GIB, MIB))
    random(little, 10 * GIB, range(0, 10 * GIB, 10 * GIB // 8))
    yield from _there_and_back("1 GiB at random", full, max(3, runs // 2), environment)
    yield from _there_and_back("10 GiB that hold 8 MiB", little, runs, environment)
    for path in work.glob("*.vhd"):
        path.unlink()
    full.unlink()


def random(path: Path, size: int, places: range) -> None:
    """Write a sparse file with a MiB at random in these places."""
    with path.open("wb") as file:
        file.truncate(size)
        for at in places:
            os.pwrite(file.fileno(), os.urandom(MIB), at)


def _there_and_back(name: str, raw: Path, runs: int, environment: Mapping[str, str]) -> Iterator[Row]:
    vhd, back = raw.with_suffix(".vhd"), raw.with_name("back.raw")
    yield from _compared(f"raw → VHD, {name}", "in", raw, vhd, runs, environment)
    yield from _compared(f"VHD → raw, {name}", "out", vhd, back, runs, environment)
    back.unlink()


def _compared(
    name: str, way: str, source: Path, target: Path, runs: int, environment: Mapping[str, str]
) -> Iterator[Row]:
    formats = ["-f", "raw", "-O", "vpc", "-o", "subformat=dynamic"] if way == "in" else ["-f", "vpc", "-O", "raw"]
    commands: dict[str, tuple[list[str], Callable[[], None]]] = {
        "imagekit convert": ([IMAGEKIT, "convert", str(source), str(target)], lambda: _gone(target)),
        "qemu-img convert": (["qemu-img", "convert", *formats, str(source), f"{target}.q"], lambda: _gone(target)),
    }
    whole = rounds(commands, environment, runs)
    library = _library(way, source, target, runs)
    theirs = whole["qemu-img convert"].seconds
    full = "random" in name
    faster = theirs / library.seconds
    bound = f" (at least {RATIO}: {_verdict(faster >= RATIO)})" if full else ""
    memory = max(library.memory, whole["imagekit convert"].memory)
    small = f"; at most {MEMORY // MIB} MiB: {_verdict(memory <= MEMORY)}"
    yield name, "imagekit.formats.vhd", library, f"{faster:.2f} times as fast as qemu-img{bound}{small}"
    took = whole["imagekit convert"].seconds
    told = "" if full else f"at most {SPARSE} s: {_verdict(took <= SPARSE)}"
    yield name, "imagekit convert", whole["imagekit convert"], told or "hashes both, and syncs"
    yield name, "qemu-img convert", whole["qemu-img convert"], ""
    Path(f"{target}.q").unlink()
    if not target.exists():
        subprocess.run(commands["imagekit convert"][0], check=True, env=dict(environment))


def _library(way: str, source: Path, target: Path, runs: int) -> Figures:
    argv = [sys.executable, "-m", "bench.wrap", way, str(source), str(target), str(runs + 1)]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    return Figures(statistics.median(map(float, said[1:-1])), int(said[-1]), 0)


def _gone(target: Path) -> None:
    for path in (target, Path(f"{target}.q")):
        path.unlink(missing_ok=True)


def _verdict(kept: bool) -> str:
    return "yes" if kept else "NO"
