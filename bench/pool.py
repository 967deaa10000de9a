"""Rows of the upload to a pool: a VHD over TLS, against a bare TLS socket; and the bytes of a sparse disk."""

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Figures
from bench.vhd import GIB, MEMORY, MIB, random

ROOT = Path(__file__).parents[1]
RATIO = 0.8
Row = tuple[str, str, Figures, str]


def rows(work: Path, runs: int) -> Iterator[Row]:
    """Yield the rows."""
    full, little = work / "full.raw", work / "little.raw"
    random(full, GIB, range(0, GIB, MIB))
    random(little, 10 * GIB, range(0, 10 * GIB, 10 * GIB // 8))
    taken: dict[str, list[tuple[float, int, int]]] = {"imagekit": [], "bare": []}
    with _host(work) as port:
        for _ in range(max(3, runs // 2)):
            for how, figures in taken.items():
                figures.append(_sent(how, full, port, work))
        ours, bare = (statistics.median(one[0] for one in figures) for figures in taken.values())
        memory = max(one[2] for one in taken["imagekit"])
        name = "1 GiB at random to a pool, TLS"
        told = f"{GIB / MIB / ours:.0f} MiB/s, {bare / ours:.2f} of the bare socket's speed"
        told += f" (at least {RATIO}: {_verdict(bare / ours >= RATIO)})"
        told += f"; at most {MEMORY // MIB} MiB: {_verdict(memory <= MEMORY)}"
        yield name, "imagekit", Figures(ours, memory, 0), told
        yield name, "a bare TLS socket", Figures(bare, 0, 0), f"{GIB / MIB / bare:.0f} MiB/s"
        seconds, length, memory = _sent("imagekit", little, port, work)
        told = f"{length / MIB:.1f} MiB over the wire; raw: {10 * GIB / MIB:.0f}"
        yield "10 GiB that hold 8 MiB, the same", "imagekit", Figures(seconds, memory, 0), told


def _sent(how: str, image: Path, port: str, work: Path) -> tuple[float, int, int]:
    argv = [sys.executable, "-m", "bench.send", how, str(image), port, str(work / "host" / "certificate.pem")]
    said = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()
    return float(said[0]), int(said[1]), int(said[2])


@contextmanager
def _host(work: Path) -> Iterator[str]:
    folder = work / "host"
    folder.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "bench.host", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout is not None  # noqa: S101 -- it is a pipe
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def _verdict(kept: bool) -> str:
    return "yes" if kept else "NO"
