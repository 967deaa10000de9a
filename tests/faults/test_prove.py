"""Ctrl-C, SIGTERM and kill -9 in the middle of a proof: no process and no file is left, and the next one works."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Bench, Process, ended, gone
from tests.prove.prepared import prepared, strangers

pytestmark = pytest.mark.xdist_group("lab")

Proving = Callable[..., Process]


def emulator(process: Process, seconds: float = 60) -> int:
    """Wait for the QEMU of a proof; return its process."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for child in children.read_text().split():
            if b"-incoming" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        time.sleep(0.01)
    pytest.fail("no QEMU")


@pytest.fixture
def proving(bench: Bench, tmp_path: Path) -> Iterator[Proving]:
    """Return a function that starts a proof of the kernel as an EBS image."""
    places = {"IMAGEKIT_CACHE_DIR": str(prepared()), "IMAGEKIT_STATE_DIR": str(tmp_path / "state")}
    assert ended(bench.start("build", bench.kernel, "-t", "ebs", "-o", bench.out / "app.ebs", "-q"))[0] == 0

    def start(*more: str) -> Process:
        return bench.start("prove", bench.out / "app.ebs", "--quiet", *more, env=places)

    yield start
    assert strangers() == set()


@pytest.mark.parametrize("delay", [0.0, 1.5])
@pytest.mark.parametrize(
    "number, status, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal(
    proving: Proving, tmp_path: Path, number: signal.Signals, status: int, word: str, delay: float
) -> None:
    process = proving("--expect", "never said", "--power-off")
    child = emulator(process)
    time.sleep(delay)
    os.killpg(process.pid, number)
    assert ended(process) == (status, "", f"error: {word}")
    assert gone(child)
    assert not (tmp_path / "state").exists()


def test_kill_9(proving: Proving, tmp_path: Path) -> None:
    process = proving("--expect", "never said", "--power-off")
    child = emulator(process)
    process.kill()
    process.wait()
    assert gone(child)
    assert not (tmp_path / "state").exists()
    assert ended(proving("--expect", "hello"), 120)[:2] == (0, "app: booted (pv-grub)\n")
