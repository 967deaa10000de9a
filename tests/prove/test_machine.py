"""A real QEMU without a guest: QMP, its refusals, its ends, and what is left of it (nothing)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from imagekit.errors import ToolError
from imagekit.prove.machine import Machine, started
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


def test_a_disk_is_plugged_in_and_not_written_to() -> None:
    with TemporaryFile() as file:
        file.write(b"disk" * 1024)
        file.flush()
        reading = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with started(BARE, {4: reading}) as machine:
                machine.plug(4, 4, "LABDISK")
                said = str(machine.tell("human-monitor-command", command_line="info block"))
                assert "/dev/fdset/4" in said or "d4" in said
                machine.tell("human-monitor-command", command_line='qemu-io d4 "write -P 7 0 512"')
                read = str(machine.tell("human-monitor-command", command_line='qemu-io d4 "read -P 7 0 512"'))
                assert "error" not in read.lower()
        finally:
            os.close(reading)
        file.seek(0)
        assert file.read() == b"disk" * 1024


def test_a_disk_that_is_not_there() -> None:
    with started(BARE, {}) as machine, pytest.raises(ToolError, match="QEMU does not take the disk") as caught:
        machine.plug(4, 4, "LABDISK")
    assert "fdset" in caught.value.details


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
