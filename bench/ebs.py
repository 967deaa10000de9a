"""Rows of the EBS upload: blocks put by the fast path and by boto3, in turns, to a sink over TLS."""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Figures

ROOT = Path(__file__).parents[1]
MIB = 1 << 20
SIZE = 512 * MIB
PEERS = {
    "imagekit": "imagekit",
    "loop": "boto3 `put_snapshot_block`, as it comes",
    "boto3": "the same, with as many connections as workers",
}
Row = tuple[str, str, Figures, str]


def rows(work: Path, runs: int) -> Iterator[Row]:
    """Yield the rows of 8 workers without latency, and of 64 with 100 ms."""
    image = work / "random.bin"
    with image.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
    yield from _compared(work, image, runs, workers=8, latency=0.0, ratio=2.5)
    yield from _compared(work, image, runs, workers=64, latency=0.1, ratio=1.8)


def _compared(work: Path, image: Path, runs: int, *, workers: int, latency: float, ratio: float) -> Iterator[Row]:
    taken: dict[str, list[tuple[float, float, float]]] = {how: [] for how in PEERS}
    with _sink(work, latency) as port:
        for _ in range(runs):
            for how, figures in taken.items():
                argv = [how, str(image), port, str(work / "sink" / "certificate.pem"), str(workers)]
                said = _python("bench.put", *argv).split()
                figures.append((float(said[0]), float(said[1]), float(said[2])))
    blocks = taken["imagekit"][0][2]
    speeds = {how: statistics.median(SIZE / MIB / one[0] for one in figures) for how, figures in taken.items()}
    name = f"{int(blocks)} blocks put, {workers} workers" + (f", {latency * 1000:.0f} ms away" if latency else "")
    for how, figures in taken.items():
        cpu = statistics.median(one[1] for one in figures) / blocks * 1000
        note = f"{speeds[how]:.0f} MiB/s, {cpu:.2f} ms of CPU a block"
        if how == "imagekit":
            note += "" if latency else f" (at most 1.1: {'yes' if cpu <= 1.1 else 'NO'})"  # noqa: PLR2004 -- ms
        else:
            times = speeds["imagekit"] / speeds[how]
            bound = f" (at least {ratio}: {'yes' if times >= ratio else 'NO'})" if how == "loop" else ""
            note += f"; imagekit is {times:.2f} times as fast{bound}"
        yield name, PEERS[how], Figures(statistics.median(one[0] for one in figures), 0, 0), note


@contextmanager
def _sink(work: Path, latency: float) -> Iterator[str]:
    folder = work / "sink"
    folder.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "bench.sink", str(folder), str(latency)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            assert server.stdout is not None  # noqa: S101 -- it is a pipe
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def _python(module: str, *arguments: str) -> str:
    argv = [sys.executable, "-m", module, *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT).stdout
