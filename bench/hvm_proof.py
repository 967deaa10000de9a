"""Rows of HVM guests: their lab made from nothing, its size, and proofs of a disk with GRUB in its boot sector."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.measure import Figures, rounds, told, verdict

MIB = 1 << 20
SIZE, MEMORY = 400 * MIB, 800 * MIB
Row = tuple[str, str, Figures, str]


def rows(work: Path, runs: int, imagekit: str, kernel: Path, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield the rows; `kernel` has a multiboot header."""
    lab = Path(environment["IMAGEKIT_CACHE_DIR"]) / "lab-hvm"
    settings = {**environment, "IMAGEKIT_STATE_DIR": str(work / "state")}
    prepare = [imagekit, "prove", "-q", "--prepare", "--by", "hvm"]
    made = rounds({"imagekit": (prepare, lambda: shutil.rmtree(lab, ignore_errors=True))}, settings, 2)["imagekit"]
    yield "prove --prepare --by hvm, from nothing", "imagekit", made, told(made, seconds=75, memory=MEMORY)
    taken = sum(path.stat().st_blocks * 512 for path in lab.rglob("*") if path.is_file())
    kept = f"at most {SIZE // MIB} MiB: {verdict(taken <= SIZE)}"
    yield "  that lab's size on disk", "imagekit", Figures(0, 0, taken), kept
    for name, target, more, at_most in _PROOFS:
        image = str(work / f"hvm.{target}")
        build = [imagekit, "build", "-q", str(kernel), "-t", target, "--boot", "hvm", "-o", image]
        subprocess.run(build, env=settings, check=True, capture_output=True)
        prove = [imagekit, "prove", "-q", "--expect", "from imagekit", "--power-off", image, *more]
        count = 3 if more else runs
        figures = rounds({"imagekit": (prove, lambda: None)}, settings, count)["imagekit"]
        yield f"prove, {name}", "imagekit", figures, told(figures, seconds=at_most, memory=MEMORY)


_PROOFS: tuple[tuple[str, str, tuple[str, ...], float], ...] = (
    ("HVM, GRUB in the boot sector", "xen", (), 10.0),
    ("the same, from its EBS blocks", "ebs", (), 10.0),
    ("the same, a cold lab", "xen", ("--cold",), 20.0),
)
