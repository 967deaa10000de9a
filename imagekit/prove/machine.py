"""One QEMU machine: started, told by QMP, listened to, ended with us.

Nothing of it is a file with a name: consoles and QMP are socket pairs, disks are descriptors that QEMU inherits.
QMP: qemu/docs/interop/qmp-spec.txt.
"""

import json
import os
import selectors
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from imagekit.command import Running, running
from imagekit.errors import ToolError

_CONSOLES = 3
# Xen keeps the interrupt that COM3 shares with COM1: it gets one of its own.
_COM3 = "isa-serial,iobase=0x3e8,irq=5,index=2,chardev=com2"
_SERIAL = (("-serial", "chardev:com0"), ("-serial", "chardev:com1"), ("-device", _COM3))
DISK, JOB = 4, 5
"""PCI slots of the two disks that each machine has, which are the numbers of their descriptor sets."""

_SERIALS = {DISK: "LABDISK", JOB: "LABJOB"}
_SECTOR = 512
_EMPTY = f"driver=null-co,size={_SECTOR},read-zeroes=on"  # else what is read is what lay in memory
_ANSWER = 60.0  # seconds that QEMU may take for an answer
_CHUNK = 1 << 16
_MOST = 4 << 20  # bytes of one console that are kept: a guest may print for ever


@dataclass
class Machine:
    """A machine under way. `consoles` holds what its serial ports (COM1, COM2, COM3) have said so far."""

    _program: Running
    _monitor: socket.socket
    _ports: Sequence[socket.socket]
    consoles: tuple[bytearray, ...] = field(default_factory=lambda: tuple(bytearray() for _ in range(_CONSOLES)))
    lost: list[int] = field(default_factory=lambda: [0] * _CONSOLES)
    _unread: bytes = b""

    def tell(self, command: str, **arguments: object) -> Mapping[str, object]:
        """Give QEMU a QMP command and return its answer; ToolError when it refuses, or has ended."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        with suppress(ConnectionError):  # it has ended: its last words come next
            self._monitor.sendall(json.dumps({"execute": command, "arguments": named}).encode() + b"\n")
        return self._answer(command)

    def hand_over(self, name: str, descriptor: int) -> None:
        """Give QEMU a descriptor, under a name, for a later command."""
        asked = json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode() + b"\n"
        with suppress(ConnectionError):
            socket.send_fds(self._monitor, [asked], [descriptor])
        self._answer("getfd")

    def fill(self, slot: int, descriptor: int) -> None:
        """Tell a machine that was saved with nothing in a slot how large the disk is that it has there now."""
        size = -(-os.fstat(descriptor).st_size // _SECTOR) * _SECTOR
        self.tell("block_resize", device=f"d{slot}", size=size)

    def listen(self, seconds: float) -> bool:
        """Take in what the consoles say for at most so long; False once QEMU has ended and all is read."""
        with selectors.DefaultSelector() as selector:
            for number, port in enumerate(self._ports):
                selector.register(port, selectors.EVENT_READ, number)
            heard = selector.select(seconds)
        closed = 0
        for key, _ in heard:
            data = _received(key.fileobj)  # type: ignore[arg-type]
            closed += not data
            self._take(key.data, data)
        return closed < len(self._ports)

    def peak(self) -> int:
        """The most memory that it took so far, in bytes."""
        return self._program.peak()

    def _take(self, number: int, data: bytes) -> None:
        console = self.consoles[number]
        console += data
        if len(console) > _MOST:
            self.lost[number] += len(console) - _MOST
            del console[:-_MOST]

    def _answer(self, command: str) -> Mapping[str, object]:
        until = time.monotonic() + _ANSWER
        while True:
            while b"\n" not in self._unread:
                self._monitor.settimeout(max(0.01, until - time.monotonic()))
                try:
                    data = _received(self._monitor)
                except TimeoutError:
                    raise ToolError(f"QEMU does not answer {command!r}") from None
                if not data:
                    raise ToolError("QEMU ended", details=self._program.complaint())
                self._unread += data
            line, self._unread = self._unread.split(b"\n", 1)
            answer = json.loads(line)
            if "error" in answer:
                raise ToolError(f"QEMU refuses {command!r}", details=answer["error"]["desc"])
            if "return" in answer or "QMP" in answer:
                return dict(answer)


def drives(filled: Collection[int]) -> tuple[str, ...]:
    """Return QEMU's arguments for both disks: a descriptor set where a slot is filled, else a sector of zeros.

    They are there from the beginning, for a disk that is plugged in later costs dom0 half a second. What is
    written to them is thrown away.
    """
    return tuple(word for slot in _SERIALS for word in _drive(slot, filled=slot in filled))


def _drive(slot: int, *, filled: bool) -> tuple[str, ...]:
    source = f"file=/dev/fdset/{slot},format=raw,snapshot=on" if filled else _EMPTY
    device = f"virtio-blk-pci,drive=d{slot},addr={slot:#x},serial={_SERIALS[slot]}"
    return "-drive", f"{source},if=none,id=d{slot}", "-device", device


def _received(wire: socket.socket) -> bytes:
    """Return what came, b"" at the end: which is a reset where QEMU left something of ours unread."""
    try:
        return wire.recv(_CHUNK)
    except ConnectionError:
        return b""


@contextmanager
def started(arguments: Sequence[str], disks: Mapping[int, int], others: Sequence[int] = ()) -> Iterator[Machine]:
    """Start a machine, with each of `disks` (slot -> descriptor) in its slot, and others open."""
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(1 + _CONSOLES)]
        for ours, theirs in pairs:
            stack.callback(ours.close)
            stack.callback(theirs.close)
        monitor, *ports = pairs
        wires = [
            *("-chardev", f"socket,id=monitor,fd={monitor[1].fileno()}", "-mon", "chardev=monitor,mode=control"),
            *(word for number, descriptor in disks.items()
              for word in ("-add-fd", f"fd={descriptor},set={number}")),
            *drives(disks),
        ]  # fmt: skip
        for number, (_, theirs) in enumerate(ports):
            wires += ["-chardev", f"socket,id=com{number},fd={theirs.fileno()}", *_SERIAL[number]]
        inherited = [*disks.values(), *others, *(theirs.fileno() for _, theirs in pairs)]
        program = stack.enter_context(running("qemu-system-x86_64", *arguments, *wires, descriptors=inherited))
        for _, theirs in pairs:
            theirs.close()
        machine = Machine(program, monitor[0], [ours for ours, _ in ports])
        machine._answer("greeting")  # noqa: SLF001 -- the greeting comes unasked
        machine.tell("qmp_capabilities")
        yield machine
