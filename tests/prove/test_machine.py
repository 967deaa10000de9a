"""A real QEMU without a guest: QMP, its refusals, its ends, and what is left of it (nothing)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, cast

import pytest

from imagekit.errors import ToolError
from imagekit.prove.machine import DISK, JOB, Machine, started
from tests.faults.conftest import gone

PLAIN = ("-machine", "pc", "-m", "16", "-accel", "tcg", "-nodefaults", "-no-user-config", "-display", "none")
BARE = (*PLAIN, "-S")
# A BIOS that finds nothing to boot, resets, and so ends QEMU.
SHORT = (*PLAIN, "-no-reboot", "-boot", "reboot-timeout=1")


def pid(machine: Machine) -> int:
    return machine._program._child.pid  # noqa: SLF001 -- nobody else needs to know it


def children() -> set[int]:
    return {int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def test_qmp_answers() -> None:
    with started(BARE, {}) as machine:
        assert machine.tell("query-status")["return"]
        assert machine.peak() > 1 << 20
        assert machine.listen(0.01)
        assert machine.consoles == (bytearray(), bytearray(), bytearray())
        process = pid(machine)
    assert gone(process)
    assert process not in children()


def test_what_qemu_refuses() -> None:
    with started(BARE, {}) as machine:
        with pytest.raises(ToolError, match="QEMU refuses 'nonsense'") as caught:
            machine.tell("nonsense")
        assert "nonsense" in caught.value.details
        with pytest.raises(ToolError, match="QEMU refuses 'device_add'") as caught:
            machine.tell("device_add", driver="no-such-driver")
        assert "no-such-driver" in caught.value.details
        assert machine.tell("query-status")["return"], "it goes on"


def test_events_between_answers_are_no_answers() -> None:
    with started(BARE, {}) as machine:
        for _ in range(3):
            machine.tell("cont")  # event RESUME
            machine.tell("stop")  # event STOP
        assert machine.tell("query-status")["return"]["status"] == "paused"  # type: ignore[index]


@contextmanager
def lent(content: bytes) -> Iterator[int]:
    """Lend a descriptor to read a file by, which holds the same afterwards."""
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        reading = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield reading
        finally:
            os.close(reading)
        file.seek(0)
        assert file.read() == content


def disk_of(machine: Machine, slot: int) -> dict[str, Any]:
    """Return what QEMU tells of the disk in a slot."""
    listed = cast("list[dict[str, Any]]", machine.tell("query-block")["return"])
    (found,) = (one["inserted"] for one in listed if one["device"] == f"d{slot}")
    return dict(found)


def size(machine: Machine, slot: int) -> int:
    """Return how large a disk is, in bytes."""
    return int(disk_of(machine, slot)["image"]["virtual-size"])


def test_a_disk_is_there_and_not_written_to() -> None:
    with lent(b"disk" * 1024) as disk, started(BARE, {DISK: disk}) as machine:
        seen = disk_of(machine, DISK)
        assert (seen["backing_file"], seen["ro"], size(machine, DISK)) == (f"/dev/fdset/{DISK}", False, 4096)
        machine.tell("human-monitor-command", command_line='qemu-io d4 "write -P 7 0 512"')


def test_a_slot_without_a_disk_has_a_sector_of_zeros() -> None:
    with started(BARE, {}) as machine:
        assert (size(machine, DISK), size(machine, JOB)) == (512, 512)
        assert disk_of(machine, DISK)["drv"] == "null-co"


def test_a_disk_has_whole_sectors() -> None:
    with lent(bytes(1000)) as disk, started(BARE, {JOB: disk}) as machine:
        machine.fill(JOB, disk)
        assert (size(machine, DISK), size(machine, JOB)) == (512, 1024)


def test_a_disk_that_cannot_be_read(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "disk", os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(ToolError, match="QEMU ended") as caught, started(BARE, {DISK: descriptor}):
            pass
        assert "fdset" in caught.value.details
    finally:
        os.close(descriptor)


def asked(arguments: Sequence[str]) -> None:
    with started(arguments, {}) as machine:  # some it reads after its greeting
        machine.listen(10)
        machine.tell("query-status")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("-no-such-option",), "-no-such-option: invalid option"),
        (("-machine", "no-such-machine"), "unsupported machine type"),
        (("-accel", "no-such-accelerator"), "no-such-accelerator"),
        ((*BARE, "-kernel", "/none/such"), "/none/such"),
    ],
)
def test_a_qemu_that_ends_at_once_is_quoted(arguments: Sequence[str], words: str) -> None:
    before = children()
    with pytest.raises(ToolError, match="QEMU ended") as caught:
        asked(arguments)
    assert words in caught.value.details
    assert caught.value.exit_code == 4
    assert children() <= before


def test_the_end_of_a_machine_is_heard() -> None:
    with started(SHORT, {}) as machine:
        until = time.monotonic() + 30
        while machine.listen(1):
            assert time.monotonic() < until
        with pytest.raises((ToolError, OSError)):
            machine.tell("query-status")


def test_a_machine_that_is_killed_is_heard() -> None:
    with started(BARE, {}) as machine:
        os.kill(pid(machine), signal.SIGKILL)
        until = time.monotonic() + 30
        while machine.listen(1):  # the ports are closed one after the other
            assert time.monotonic() < until
        with pytest.raises(ToolError, match="QEMU ended"):
            machine.tell("query-status")


def test_it_ends_with_the_with_whatever_ended_that() -> None:
    processes = []
    for error in (ValueError, KeyboardInterrupt):
        with suppress(error), started(BARE, {}) as machine:
            processes.append(pid(machine))
            raise error
    assert all(map(gone, processes))


def test_no_descriptor_is_left() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for arguments in (BARE, ("-no-such-option",)):
        try:
            with started(arguments, {}):
                pass
        except ToolError:
            continue
    assert sorted(os.listdir("/proc/self/fd")) == before


HOLDER = """
import sys, time
from imagekit.prove.machine import started
with started(sys.argv[1:], {}) as machine:
    print(machine._program._child.pid, flush=True)
    time.sleep(60)
"""


def test_kill_9_of_whoever_holds_it_ends_it() -> None:
    argv = [sys.executable, "-c", HOLDER, *BARE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        process = int(holder.stdout.readline())
        assert "qemu" in Path(f"/proc/{process}/cmdline").read_text()
        holder.kill()
        holder.wait()
        assert gone(process)
