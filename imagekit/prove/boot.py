"""One boot: the job is handed to dom0, the consoles are read, and what happened is told."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from imagekit.errors import ToolError
from imagekit.kernel import Way
from imagekit.plan import Json
from imagekit.prove.answer import Answer, read_answer
from imagekit.prove.job import GRUBS, PYGRUBS, Guest, Network, job
from imagekit.prove.machine import DISK, JOB, Machine
from imagekit.prove.machines import Machines

_ENDED = re.compile(rb"^LAB: ended (\d+)\s*$", re.MULTILINE)
_FAILED = re.compile(rb"^LAB: failed (.*?)\s*$", re.MULTILINE)
_REASON = re.compile(r"has shut down, reason code (\d+)")
# GRUB's last words (grub-core/normal/menu.c), and what our grub.cfg says after them, unless GRUB complains then:
# both name the kernel's file. That there is no screen (commands/i386/pc/vbe.c) keeps it from nothing.
_BOOTING = re.compile(
    rb"Booting `[^\r\n]*'[\r\n]++(?:(?:GRUB: |error: Can't get controller info)[^\r\n]*+[\r\n]++)*"
    rb"(?!GRUB: |error: )"
)
_GRUB = re.compile(rb"GRUB|Booting `|^error: ", re.MULTILINE)
# The BIOS of an HVM guest, on its last way out: SeaBIOS's src/boot.c. It waits for ever then.
_NO_BOOT = b"No bootable device"
# Where GRUB in the boot sector ends when it has nothing to start: at a prompt, or at its menu again.
_STUCK = re.compile(
    rb"grub(?: rescue)?> *(?:\x1b\[[\d;]*[A-Za-z])*\Z|Failed to boot both default and fallback entries"
)
# xl, pygrub, Xen; hvmloader and the BIOS of the first domain.
_SAYING = ("XL: ", "LOADER: ", "(XEN) ", "(d1) ")
# At the beginning of a line: an HVM guest's words, by port 0xe9, are behind "(d1) ".
_LOST = re.compile(rb"^(?:\(XEN\) .*(?:Panic on CPU|Dom0 crashed)|FATAL: Could not bind)", re.MULTILINE)
_CLEAN = {0}
_STAGES = {
    b"LAB: job": "job",
    b"LAB: xl": "xl",
    b"LAB: pygrub\r": "pygrub",
    b"LAB: pygrub-ended": "pygrub-ended",
    b"LAB: ended": "ended",
    b"HVM Loader": "firmware",
    b"Booting from": "loader",
}


class Verdict(StrEnum):
    """What became of a boot."""

    BOOTED = "booted"
    WITHOUT_TEXT = "ended without the text"
    CRASHED = "crashed"
    REFUSED = "not started"
    HUNG = "time ran out"
    AGAINST_RULES = "not by Amazon's rules"
    """GRUB 2 booted it as a PV guest, and Amazon's PV-GRUB would not."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a boot must show.

    `text` on the guest's console; `off`, a clean power-off; `body`, text in what it answers, where the guest has a
    network. Without any of them, a clean power-off.
    """

    text: str = ""
    off: bool = False
    body: str = ""

    def told(self, network: Network | None) -> dict[str, Json]:
        """Return it for the record."""
        return {**asdict(self), "url": network.url.geturl() if network else ""}


@dataclass(frozen=True, slots=True)
class Boot:
    """A boot that is over.

    `console` is the guest's own; `said` what xl and the boot loader on dom0 said; `seconds` where the time went;
    `memory` the most that QEMU took, in bytes.
    """

    verdict: Verdict
    why: str
    console: bytes
    said: str
    seconds: Mapping[str, float]
    memory: int
    answer: Answer | None = None


@dataclass
class _Watch:
    """A boot under way, judged by what its consoles have said so far."""

    machine: Machine
    guest: Guest
    expected: Expected
    times: dict[str, float] = field(default_factory=dict)
    own: int | None = None  # where the guest's own words begin on its console

    def note(self) -> None:
        """Remember when each stage was first seen."""
        now, control = time.monotonic(), self.machine.consoles[0]
        for mark, name in _STAGES.items():
            if name not in self.times and mark in control:
                self.times[name] = now
        if self.own is None or not self.machine.lost[1]:
            self.own = self._after_the_loader()
        if self.console():
            self.times.setdefault("console", now)

    def console(self) -> bytes:
        """Return what the guest itself said: GRUB's menu and complaints, which name it, are before that."""
        if self.own is None:
            return b""
        return bytes(self.machine.consoles[1][max(0, self.own - self.machine.lost[1]) :])

    def verdict(self) -> tuple[Verdict, str] | None:
        """Return what became of it, or None as long as that is open."""
        control = self.machine.consoles[0]
        if failed := _FAILED.search(control):
            raise ToolError("the lab failed", details=failed[1].decode(errors="backslashreplace"))
        if _LOST.search(control):
            raise ToolError("the lab failed", details=self.said()[-1500:])
        ended = _ENDED.search(control)
        if ended and self.own is None:
            self.own = 0  # GRUB started it from no menu: nothing named it before
        wants_end = self.expected.off or not (self.expected.text or self.guest.network)
        seen = self._text_is_there() and self._answer_is_there()
        if seen and not wants_end:
            return Verdict.BOOTED, self._proven()
        if ended:
            return self._at_the_end(int(ended[1]), seen=seen)
        return self._never_started() if self.guest.way is Way.HVM else None

    def answer(self) -> Answer | None:
        """Return what the guest answered over the network, once it is whole."""
        found = re.search(rb"^LAB: answered (\d+)\s*$", self.machine.consoles[0], re.MULTILINE)
        data = bytes(self.machine.consoles[2])
        return read_answer(data) if found and len(data) >= int(found[1]) else None

    def said(self) -> str:
        """Return what xl and the loader on dom0 said."""
        lines = self.machine.consoles[0].decode(errors="backslashreplace").splitlines()
        kept = (line.rstrip() for line in lines if line.startswith(_SAYING))
        return "\n".join(line.removeprefix("XL: ").removeprefix("LOADER: ") for line in kept)

    def _never_started(self) -> tuple[Verdict, str] | None:
        """Tell of an HVM guest that waits for somebody at its keyboard."""
        if _NO_BOOT in self.machine.consoles[0]:
            return Verdict.REFUSED, "its BIOS found nothing to boot"
        if self.own is None and _STUCK.search(self.machine.consoles[1]):
            return Verdict.REFUSED, "GRUB found nothing to start"
        return None

    def _at_the_end(self, status: int, *, seen: bool) -> tuple[Verdict, str]:
        if status:
            return Verdict.REFUSED, "xl could not start it"
        reason = _REASON.search(self.said())
        code = int(reason[1]) if reason else -1
        if code not in _CLEAN:
            return Verdict.CRASHED, _ENDS.get(code, f"it ended with reason {code}")
        if not seen:
            wanted = "answering as expected" if self._text_is_there() else f"saying {self.expected.text!r}"
            return Verdict.WITHOUT_TEXT, f"it powered off without {wanted}"
        return Verdict.BOOTED, self._proven(off=True)

    def _after_the_loader(self) -> int | None:
        """Return where the guest's own words begin, None while that is open."""
        console = self.machine.consoles[1]
        if self.guest.way in GRUBS or (self.guest.way is Way.HVM and _GRUB.search(console)):
            return left_grub(console)
        # pygrub's screen is on a terminal of its own, which xl logs; a disk's loader may be silent.
        return 0

    def _text_is_there(self) -> bool:
        console = self.console()
        wanted = self.expected.text.encode()
        return wanted in console or wanted in console.replace(b"\r", b"")

    def _answer_is_there(self) -> bool:
        if self.guest.network is None:
            return True
        answer = self.answer()
        return answer is not None and answer.good and self.expected.body.encode() in answer.body

    def _proven(self, *, off: bool = False) -> str:
        found = [f"said {self.expected.text!r}"] if self.expected.text else []
        if self.guest.network is not None:
            found.append(f"answered {self.guest.network.url.geturl()}")
        if off:
            found.append("powered off")
        return "it " + ", ".join(found)


_ENDS = {
    -1: "it ended, and xl does not tell why",
    1: "it wants a reboot",
    2: "it suspended itself",
    3: "it crashed",
    4: "its watchdog ended it",
    5: "it wants a soft reset",
}


def boot(
    machines: Machines,
    guest: Guest,
    disk: int | None,
    expected: Expected,
    *,
    timeout: float,
    cold: bool = False,
    note: Callable[[str], None] = lambda _: None,
) -> Boot:
    """Boot a guest from the disk behind a descriptor and tell what became of it; `timeout` is in seconds.

    ToolError when it is the lab that fails.
    """
    begun = time.monotonic()
    with _memory_file(job(guest)) as paper:
        disks = {JOB: paper} | ({} if disk is None else {DISK: disk})
        with machines.ready(guest.memory, disks, cold=cold, note=note) as machine:
            up = time.monotonic()
            watch = _Watch(machine, guest, expected)
            verdict, why = _watched(watch, up + timeout)
            return Boot(
                verdict,
                why,
                bytes(machine.consoles[1]),
                watch.said(),
                _seconds(guest, begun, up, watch.times),
                machine.peak(),
                watch.answer(),
            )


def left_grub(console: bytes | bytearray) -> int | None:
    """Return where a console goes on after GRUB has started a kernel; None when it has not."""
    found = _BOOTING.search(console)
    return found.end() if found else None


def check(machines: Machines, paper: bytes, note: Callable[[str], None], timeout: float = 60.0) -> tuple[int, str]:
    """Give dom0 a job that starts no guest; return xl's status and what it said."""
    with _memory_file(paper) as job_file, machines.ready(0, {JOB: job_file}, cold=False, note=note) as machine:
        until = time.monotonic() + timeout
        watch = _Watch(machine, Guest(Way.PYGRUB_PV, 0), Expected())
        while not (ended := _ENDED.search(machine.consoles[0])):
            if not machine.listen(1.0) or time.monotonic() > until:
                raise ToolError("the lab failed", details=watch.said()[-1500:])
        return int(ended[1]), watch.said()


def _watched(watch: _Watch, until: float) -> tuple[Verdict, str]:
    while True:
        left = until - time.monotonic()
        alive = watch.machine.listen(max(0.0, min(left, 1.0)))
        watch.note()
        verdict = watch.verdict()
        if verdict is not None:
            return verdict
        if not alive:
            raise ToolError("QEMU ended", details=watch.said()[-1500:])
        if left <= 0:
            return Verdict.HUNG, "it neither did what was expected, nor ended"


def _seconds(guest: Guest, begun: float, up: float, times: Mapping[str, float]) -> dict[str, float]:
    """Tell the time of each stage: restore (or boot) of the lab, dom0, xl, loader, guest."""
    end = time.monotonic()
    called = times.get("xl", end)
    found = {"lab": up - begun, "dom0": called - up}
    if guest.way is Way.HVM:
        firmware = times.get("firmware", end)
        loader = times.get("loader", end)
        found |= {"xl": firmware - called, "firmware": loader - firmware, "loader and guest": end - loader}
    elif guest.way in PYGRUBS:
        loader, loaded = times.get("pygrub", end), times.get("pygrub-ended", end)
        first = times.get("console", end)
        found |= {
            "xl": loader - called + max(0.0, first - loaded),
            "loader": loaded - loader,
            "guest": end - first,
        }
    else:
        first = times.get("console", end)
        found |= {"xl": first - called, "loader and guest" if guest.way in GRUBS else "guest": end - first}
    return {name: round(max(0.0, seconds), 3) for name, seconds in found.items()}


@contextmanager
def _memory_file(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("imagekit-job")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data + bytes(-len(data) % 512))
        reading = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield reading
        finally:
            os.close(reading)
    finally:
        os.close(descriptor)
