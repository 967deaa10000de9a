"""Rows of many kernels at once: images a minute, the same from the cache, and the memory of the front."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.measure import Figures, once

Row = tuple[str, str, Figures, str]
MIB = 1 << 20
MEMORY = 300 * MIB
CACHED = 15.0  # seconds, of 1,000 kernels for 2 targets
_GUEST = b"imagekit-hello"  # the kernel's note of what it is, as long as what takes its place


def rows(work: Path, kernel: Path, imagekit: str, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows of 1, 10, 100 and 1,000 kernels for 2 targets, and how threads compare with processes."""
    kernels, out = kernels_like(kernel, work / "kernels", 1000), work / "farm"
    build = [imagekit, "build", "-q", "-t", "xen", "-t", "ebs", "-o", f"{out}/"]
    for count in (1, 10, 100, 1000):
        _forget(environment, out)
        argv = [*build, *kernels[:count]]
        yield _row(f"{count} kernels, cold", count, Figures.of([once(argv, environment)]), None)
        limit = CACHED if count == len(kernels) else None
        yield _row(f"{count} kernels, cached", count, Figures.of([once(argv, environment)]), limit)
    for workers in ("threads", "processes"):
        for jobs in sorted({2, os.cpu_count() or 1, 8}):
            _forget(environment, out)
            argv = [*build, "--workers", workers, "--jobs", str(jobs), *kernels[:100]]
            yield _row(f"100 kernels, {jobs} {workers}", 100, Figures.of([once(argv, environment)]), None)
    _forget(environment, out)
    shutil.rmtree(work / "kernels")


def kernels_like(kernel: Path, folder: Path, count: int) -> list[str]:
    """Write kernels that differ, and say of themselves something else, and return their paths."""
    folder.mkdir()
    content = kernel.read_bytes()
    paths = [folder / f"k{number:04}.xen" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(content.replace(_GUEST, b"imagekit-%05d" % number))
    return list(map(str, paths))


def _row(name: str, count: int, figures: Figures, limit: float | None) -> Row:
    told = [f"{2 * count * 60 / figures.seconds:,.0f} images a minute"]
    told += [f"at most {limit:g} s: {_verdict(figures.seconds <= limit)}"] if limit else []
    told += [f"at most {MEMORY // MIB} MiB: {_verdict(figures.memory <= MEMORY)}"]
    return name, "imagekit", figures, ", ".join(told)


def _verdict(good: bool) -> str:
    return "yes" if good else "NO"


def _forget(environment: Mapping[str, str], out: Path) -> None:
    for folder in (Path(environment["IMAGEKIT_CACHE_DIR"]), out):
        shutil.rmtree(folder, ignore_errors=True)
    os.sync()
