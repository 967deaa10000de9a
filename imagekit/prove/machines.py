"""Where a machine with Xen and dom0 up and waiting comes from: the saved one, or a fresh boot.

The saved machine is QEMU's migration stream in a file. It belongs to one QEMU, one set of arguments and one lab,
which its name is made of; its SHA-256 is compared while QEMU reads it.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp

from imagekit import programs
from imagekit.errors import ToolError
from imagekit.prove.lab import DOM0_ARGUMENTS, Lab, xen_arguments
from imagekit.prove.machine import Machine, drives, started

_MIB = 1 << 20
_LEAST = 64  # MiB of room for guests
_XEN = 112  # MiB that Xen, QEMU's BIOS and the frame tables take
SMALL = 128 * _MIB
"""Bytes of the largest guest that the saved machine has room for."""
_BOOT = 120.0  # seconds
_RESTORE = 30.0
_READY = b"LAB: ready"
_QEMU = (
    *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "pc"),
    # QEMU 7.2 emulates SMAP so that dom0 dies of it.
    *("-cpu", "max,-smap,-smep", "-smp", "1"),
)
_ACCELERATORS = {"tcg": "tcg,thread=multi,tb-size=64", "kvm": "kvm"}


class DamagedError(Exception):
    """The saved machine is not what was saved."""


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines of one lab; `folder` is where the saved one lies."""

    lab: Lab
    folder: Path
    accelerator: str = "tcg"

    @contextmanager
    def ready(
        self, memory: int, disks: Mapping[int, int], *, cold: bool, note: Callable[[str], None]
    ) -> Iterator[Machine]:
        """Lend a machine whose dom0 waits for a job, with room for a guest of `memory` bytes."""
        if cold or memory > SMALL:
            with self._booted(disks, max(memory // _MIB, _LEAST)) as machine:
                yield machine
            return
        try:
            with self._restored(disks, note) as machine:
                yield machine
        except DamagedError as error:
            note(f"the saved machine is of no use ({error}): it is made again")
            self.saved.unlink(missing_ok=True)
            with self._restored(disks, note) as machine:
                yield machine

    @property
    def saved(self) -> Path:
        """Where the saved machine lies."""
        qemu = programs.require("qemu-system-x86_64")
        status = os.stat(qemu)
        arguments = repr((self._arguments(SMALL // _MIB), drives(()), qemu, status.st_size, status.st_mtime_ns))
        key = hashlib.sha256(f"{self.lab.digest} {arguments}".encode()).hexdigest()
        return self.folder / f"machine-{key[:32]}"

    def save(self) -> None:
        """Boot once and save the machine; others that lie there are removed."""
        with self._booted({}, SMALL // _MIB) as machine:
            machine.tell("stop")
            machine.tell("migrate-set-parameters", max_bandwidth=1 << 34)
            descriptor, name = mkstemp(dir=self.folder, prefix="machine-new-")
            try:
                machine.hand_over("saved", descriptor)
                machine.tell("migrate", uri="fd:saved")
                _wait(machine, "query-migrate", {"completed"}, {"none", "setup", "active", "device"}, _RESTORE)
                self._keep(Path(name))
            finally:
                os.close(descriptor)
                Path(name).unlink(missing_ok=True)

    def _keep(self, path: Path) -> None:
        with path.open("rb") as file:
            record = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}
        for old in self.folder.glob("machine-*"):
            if old != path:
                old.unlink(missing_ok=True)
        saved = self.saved
        saved.with_suffix(".json").write_text(json.dumps(record))
        path.replace(saved)

    @contextmanager
    def _restored(self, disks: Mapping[int, int], note: Callable[[str], None]) -> Iterator[Machine]:
        if not self.saved.exists():
            note("booting Xen and dom0 once, and saving the machine")
            self.save()
        descriptor = os.open(self.saved, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
                sound = pool.submit(self._is_sound, descriptor)
                arguments = (*self._arguments(SMALL // _MIB), "-incoming", f"fd:{descriptor}")
                try:
                    machine = stack.enter_context(started(arguments, disks, (descriptor,)))
                    good, passing = {"paused", "postmigrate", "running"}, {"inmigrate"}
                    _wait(machine, "query-status", good, passing, _RESTORE)
                except ToolError as error:
                    if not error.brief.startswith("QEMU"):
                        raise  # it never started
                    raise DamagedError(error.brief) from error
                if not sound.result():
                    raise DamagedError("its bytes have changed")
                machine.tell("cont")
                for slot, disk in disks.items():
                    machine.fill(slot, disk)
                yield machine
        finally:
            os.close(descriptor)

    def _is_sound(self, descriptor: int) -> bool:
        with suppress(OSError, ValueError, KeyError):
            record = json.loads(self.saved.with_suffix(".json").read_bytes())
            seen, at = hashlib.sha256(), 0
            while data := os.pread(descriptor, _MIB, at):  # QEMU reads by the same descriptor's own place
                seen.update(data)
                at += len(data)
            return bool(at == record["size"] and seen.hexdigest() == record["sha256"])
        return False

    @contextmanager
    def _booted(self, disks: Mapping[int, int], room: int) -> Iterator[Machine]:
        if damaged := self.lab.damage():
            raise ToolError(
                f"{self.lab.folder / damaged} is damaged",
                hint=f"remove {self.lab.folder}: the next proof makes the lab again",
            )
        with started(self._arguments(room), disks) as machine:
            until = time.monotonic() + _BOOT
            while _READY not in machine.consoles[0]:
                alive = machine.listen(0.5)
                if not alive or time.monotonic() > until or b"LAB: failed" in machine.consoles[0]:
                    raise ToolError(
                        "dom0 does not come up",
                        details=machine.consoles[0][-1500:].decode(errors="backslashreplace").strip(),
                        hint=f"`{self.lab.variant.preparing}` makes the lab again",
                    )
            yield machine

    def _arguments(self, room: int) -> tuple[str, ...]:
        """Return QEMU's arguments for a machine with `room` MiB for guests."""
        dom0 = DOM0_ARGUMENTS.replace(",", ",,")
        return (
            *_QEMU,
            *("-accel", _ACCELERATORS[self.accelerator], "-m", str(self.lab.variant.memory + _XEN + room)),
            *("-kernel", str(self.lab.xen), "-append", xen_arguments(self.lab.variant)),
            *("-initrd", f"{_escaped(self.lab.vmlinux)} {dom0},{_escaped(self.lab.dom0)}"),
        )


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


def _wait(machine: Machine, query: str, good: set[str], passing: set[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        answer = machine.tell(query)["return"]
        status = str(answer.get("status", "none")) if isinstance(answer, dict) else ""
        if status in good:
            return
        if status not in passing or time.monotonic() > until:
            raise ToolError(f"QEMU's {query} says {status!r}")
        time.sleep(0.01)
