"""What becomes of a boot, told from what consoles said: a real Machine whose serial ports are ours to speak on."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ToolError
from imagekit.kernel import Way
from imagekit.prove.boot import Expected, Verdict, _seconds, _Watch, _watched, left_grub
from imagekit.prove.job import Guest, Network
from imagekit.prove.machine import Machine

if TYPE_CHECKING:
    from imagekit.command import Running

MIB = 1 << 20
NETWORK = Network(IPv4Interface("10.0.0.1/24"), urlsplit("http://10.0.0.2/"))
GRUB = b"\x1b[30mWelcome to GRUB!\n\r\n\r\x1b[H\x1b[J  Booting `hello'\n\r\n\r"
MISSING = b"error: couldn't load file /boot/hello.xen.\n\r\n\rPress any key to continue..."
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nWelcome"


def shut_down(code: int) -> bytes:
    return (
        b"XL: Waiting for domain guest (domid 1) to die [pid 192]\r\n"
        b"XL: Domain 1 has shut down, reason code %d 0x%x\r\nLAB: ended 0\r\n" % (code, code)
    )


class Wires:
    """The far ends of a machine's serial ports: dom0's console, the guest's, what it answered."""

    def __init__(self, stack: ExitStack) -> None:
        pairs = [socket.socketpair() for _ in range(4)]
        for pair in pairs:
            for end in pair:
                stack.callback(end.close)
        self.machine = Machine(cast("Running", None), pairs[3][0], [ours for ours, _ in pairs[:3]])
        self._theirs = [theirs for _, theirs in pairs[:3]]
        self._said = 0

    def say(self, dom0: bytes = b"", guest: bytes = b"", answer: bytes = b"") -> None:
        for theirs, data in zip(self._theirs, (dom0, guest, answer), strict=True):
            for at in range(0, len(data), 1 << 16):
                piece = data[at : at + (1 << 16)]
                theirs.sendall(piece)
                self._said += len(piece)
                while sum(map(len, self.machine.consoles)) + sum(self.machine.lost) < self._said:
                    assert self.machine.listen(1)

    def end(self) -> None:
        for theirs in self._theirs:
            theirs.close()


@pytest.fixture
def wires() -> Iterator[Wires]:
    with ExitStack() as stack:
        yield Wires(stack)


Watching = Callable[..., _Watch]


@pytest.fixture
def watching(wires: Wires) -> Watching:
    """Return a function that watches a guest: watching(way, text=…, off=…, body=…, network=…)."""

    def watch(way: Way = Way.PYGRUB_PV, *, network: Network | None = None, **expected: object) -> _Watch:
        return _Watch(wires.machine, Guest(way, 32 * MIB, network=network), Expected(**expected))  # type: ignore[arg-type]

    return watch


def verdict(watch: _Watch) -> tuple[Verdict, str] | None:
    watch.note()
    return watch.verdict()


@pytest.mark.parametrize("way", list(Way))
def test_the_text_is_enough_when_it_is_all_that_is_wanted(way: Way, wires: Wires, watching: Watching) -> None:
    watch = watching(way, text="hello from")
    wires.say(b"LAB: job\r\nLAB: xl\r\n", GRUB if way in {Way.PV_GRUB, Way.MULTIBOOT} else b"")
    assert verdict(watch) is None
    wires.say(guest=b"hello fr")
    assert verdict(watch) is None
    wires.say(guest=b"om the guest\r\n")
    assert verdict(watch) == (Verdict.BOOTED, "it said 'hello from'")
    assert watch.console() == b"hello from the guest\r\n"


def test_all_at_once_is_as_good(wires: Wires, watching: Watching) -> None:
    """Whoever was stopped for a while, and reads everything in one go, sees the same."""
    watch = watching(Way.PYGRUB_PV, text="hello")
    wires.say(b"LAB: pygrub\r\nLAB: pygrub-ended 0\r\n" + shut_down(0), b"hello\r\n")
    assert verdict(watch) == (Verdict.BOOTED, "it said 'hello'")


@pytest.mark.parametrize("way", [Way.PV_GRUB, Way.MULTIBOOT])
def test_what_grub_says_does_not_count(way: Way, wires: Wires, watching: Watching) -> None:
    """Its menu, its last words, and its complaints name the kernel as the guest would."""
    watch = watching(way, text="hello")
    for words in (b"*hello\r\n", GRUB, MISSING):
        wires.say(guest=words)
        assert verdict(watch) is None
    wires.say(guest=b"Falling back to `other'\n\r" + GRUB.replace(b"hello", b"other") + b"hello\r\n")
    assert verdict(watch) == (Verdict.BOOTED, "it said 'hello'")


@pytest.mark.parametrize("at", range(1, len(MISSING), 5))
def test_a_complaint_that_comes_in_pieces(at: int, wires: Wires, watching: Watching) -> None:
    watch = watching(Way.PV_GRUB, text="boot/hello")
    wires.say(guest=GRUB + MISSING[:at])
    assert verdict(watch) is None
    wires.say(guest=MISSING[at:])
    assert verdict(watch) is None
    assert watch.own is None


def test_a_guest_that_is_a_grub_is_read_from_its_beginning(wires: Wires, watching: Watching) -> None:
    watch = watching(Way.PV_GRUB, text="Welcome to GRUB!")
    wires.say(guest=GRUB)
    assert verdict(watch) is None
    wires.say(guest=GRUB)
    assert verdict(watch) == (Verdict.BOOTED, "it said 'Welcome to GRUB!'")


def test_where_grub_left() -> None:
    assert left_grub(GRUB) == len(GRUB)
    assert left_grub(GRUB + b"words") == len(GRUB)
    assert left_grub(GRUB + MISSING) is None
    assert left_grub(b"Welcome to GRUB!\n\r") is None


OURS = b"GRUB: loading /boot/hello.xen\r\n"
NO_SCREEN = b"error: Can't get controller info..\r\n"


@pytest.mark.parametrize("at", range(1, len(OURS)))
def test_what_our_grub_cfg_says_does_not_count(at: int, wires: Wires, watching: Watching) -> None:
    watch = watching(Way.HVM, text="hello")
    for words in (
        b"\x1b[H\x1b[J  Boot",
        b"ing `hello'\n\r\n\r",
        OURS[:at],
        OURS[at:],
        NO_SCREEN[:9],
        NO_SCREEN[9:],
    ):
        wires.say(guest=words)
        assert verdict(watch) is None
    wires.say(guest=b"hello\r\n")
    assert verdict(watch) == (Verdict.BOOTED, "it said 'hello'")
    assert watch.console() == b"hello\r\n"


@pytest.mark.parametrize("complaint", [MISSING, NO_SCREEN + MISSING])
def test_what_grub_complains_of_in_an_hvm_guest_does_not_count(
    complaint: bytes, wires: Wires, watching: Watching
) -> None:
    watch = watching(Way.HVM, text="hello")
    wires.say(guest=GRUB + OURS + complaint)
    assert verdict(watch) is None
    assert watch.own is None


def test_a_loader_of_an_hvm_guest_that_says_nothing(wires: Wires, watching: Watching) -> None:
    watch = watching(Way.HVM, text="hello")
    wires.say(guest=b"[    0.000000] Linux version 6.1\r\nhello\r\n")
    assert verdict(watch) == (Verdict.BOOTED, "it said 'hello'")


def test_nothing_to_boot(wires: Wires, watching: Watching) -> None:
    watch, other = watching(Way.HVM, text="hello"), watching(Way.PVH_PYGRUB, text="hello")
    wires.say(b"(d1) Booting from Hard Disk...\r\n(d1) No bootable device.  Retrying in 60 seconds.\r\n")
    assert verdict(watch) == (Verdict.REFUSED, "its BIOS found nothing to boot")
    assert "No bootable device" in watch.said()
    assert verdict(other) is None


@pytest.mark.parametrize(
    "words",
    [
        b"GNU GRUB  version 2.06\r\n\r\ngrub> ",
        b"error: unknown filesystem.\r\nEntering rescue mode...\r\ngrub rescue> \x1b[K",
        GRUB + OURS + MISSING + b"\r\n  Failed to boot both default and fallback entries.\r\n",
    ],
)
def test_a_grub_that_waits_for_somebody(words: bytes, wires: Wires, watching: Watching) -> None:
    watch, other = watching(Way.HVM, text="never"), watching(Way.MULTIBOOT, text="never")
    wires.say(guest=words[:-1])
    assert watch.own is None
    wires.say(guest=words[-1:])
    assert verdict(watch) == (Verdict.REFUSED, "GRUB found nothing to start")
    assert verdict(other) is None


def test_a_guest_that_speaks_of_a_prompt(wires: Wires, watching: Watching) -> None:
    watch = watching(Way.HVM, text="never")
    wires.say(guest=GRUB + OURS + b"type this: grub> ")
    assert verdict(watch) is None


def test_an_hvm_guest_cannot_speak_for_the_lab_by_its_debug_port(wires: Wires, watching: Watching) -> None:
    watch = watching(Way.HVM, off=True)
    wires.say(b"(d1) LAB: ended 0\r\n(d1) LAB: failed me\r\n(d1) Panic on CPU\r\n(d1) Dom0 crashed\r\n")
    assert verdict(watch) is None


def test_line_ends_do_not_matter_and_bytes_are_bytes(wires: Wires, watching: Watching) -> None:
    watch = watching(text="grüße\nsecond")
    wires.say(guest="\udcff".encode(errors="surrogateescape") + "grüße\r\nsecond\r\n".encode())
    assert verdict(watch) == (Verdict.BOOTED, r"it said 'grüße\nsecond'")


def test_dom0s_words_are_not_the_guests(wires: Wires, watching: Watching) -> None:
    watch = watching(text="hello")
    wires.say(b"XL: hello\r\nhello\r\n(XEN) hello\r\n")
    assert verdict(watch) is None


def test_a_guest_cannot_speak_for_the_lab(wires: Wires, watching: Watching) -> None:
    watch = watching(off=True)
    wires.say(guest=b"LAB: ended 0\r\nLAB: failed me\r\n" + shut_down(0) + b"Panic on CPU")
    assert verdict(watch) is None


@pytest.mark.parametrize(
    "code, why",
    [
        (1, "it wants a reboot"),
        (2, "it suspended itself"),
        (3, "it crashed"),
        (4, "its watchdog ended it"),
        (5, "it wants a soft reset"),
        (77, "it ended with reason 77"),
    ],
)
def test_ends_that_are_no_power_off(code: int, why: str, wires: Wires, watching: Watching) -> None:
    watch = watching(text="hello", off=True)
    wires.say(guest=b"hello\r\n")
    assert verdict(watch) is None
    wires.say(shut_down(code))
    assert verdict(watch) == (Verdict.CRASHED, why)


def test_an_end_that_xl_does_not_explain(wires: Wires, watching: Watching) -> None:
    wires.say(b"LAB: ended 0\r\n")
    assert verdict(watching()) == (Verdict.CRASHED, "it ended, and xl does not tell why")


def test_a_clean_end(wires: Wires, watching: Watching) -> None:
    nothing, both, other = watching(), watching(text="hello", off=True), watching(text="Hello")
    wires.say(shut_down(0), b"hello\r\n")
    assert verdict(nothing) == (Verdict.BOOTED, "it powered off")
    assert verdict(both) == (Verdict.BOOTED, "it said 'hello', powered off")
    assert verdict(other) == (Verdict.WITHOUT_TEXT, "it powered off without saying 'Hello'")


def test_xl_refuses(wires: Wires, watching: Watching) -> None:
    wires.say(b"XL: xc: no loader found\r\nLOADER: Traceback\r\nother\r\n(XEN) d1 tried\r\nLAB: ended 3\r\n")
    watch = watching(text="hello")
    assert verdict(watch) == (Verdict.REFUSED, "xl could not start it")
    assert watch.said() == "xc: no loader found\nTraceback\n(XEN) d1 tried"


@pytest.mark.parametrize(
    "words, told",
    [
        (b"LAB: failed insmod nothing\r\n", "insmod nothing"),
        (b"(XEN) Panic on CPU 0:\r\n", "(XEN) Panic on CPU 0:"),
        (b"(XEN) Dom0 crashed: rebooting\r\n", "(XEN) Dom0 crashed: rebooting"),
    ],
)
def test_when_the_lab_fails_it_is_not_the_images_fault(
    words: bytes, told: str, wires: Wires, watching: Watching
) -> None:
    wires.say(words)
    with pytest.raises(ToolError, match="the lab failed") as caught:
        verdict(watching(text="hello"))
    assert caught.value.details.strip() == told


def test_an_answer(wires: Wires, watching: Watching) -> None:
    watch, other = watching(network=NETWORK, body="Welcome"), watching(network=NETWORK, body="Nobody")
    wires.say(b"LAB: answered %d\r\n" % len(HTTP), answer=HTTP[:20])
    assert verdict(watch) is None
    assert watch.answer() is None
    wires.say(answer=HTTP[20:])
    assert verdict(watch) == (Verdict.BOOTED, "it answered http://10.0.0.2/")
    answer = watch.answer()
    assert answer is not None
    assert answer.body == b"Welcome"
    assert verdict(other) is None
    wires.say(shut_down(0))
    assert verdict(other) == (Verdict.WITHOUT_TEXT, "it powered off without answering as expected")


def test_an_answer_of_an_error_is_none(wires: Wires, watching: Watching) -> None:
    data = HTTP.replace(b"200 OK", b"500 No")
    wires.say(b"LAB: answered %d\r\n" % len(data), answer=data)
    assert verdict(watching(network=NETWORK)) is None


def test_time_runs_out(wires: Wires, watching: Watching) -> None:
    wires.say(b"LAB: xl\r\n", b"hello\r\n")
    assert _watched(watching(text="never"), 0)[0] is Verdict.HUNG


def test_qemu_that_ends_is_the_labs_failure(wires: Wires, watching: Watching) -> None:
    wires.say(b"XL: Parsing\r\n")
    wires.end()
    with pytest.raises(ToolError, match="QEMU ended") as caught:
        _watched(watching(text="never"), 1e12)
    assert caught.value.details == "Parsing"


def test_a_guest_that_prints_for_ever_is_still_understood(wires: Wires, watching: Watching) -> None:
    watch = watching(Way.PV_GRUB, text="at last")
    wires.say(guest=GRUB)
    assert verdict(watch) is None
    for _ in range(5):
        wires.say(guest=b"x" * MIB)
        assert verdict(watch) is None
    wires.say(guest=b"at last")
    assert verdict(watch) == (Verdict.BOOTED, "it said 'at last'")
    assert len(wires.machine.consoles[1]) == 4 * MIB
    assert wires.machine.lost[1] == len(GRUB) + MIB + len(b"at last")


@given(
    st.dictionaries(
        st.sampled_from(["xl", "pygrub", "pygrub-ended", "console", "firmware", "loader"]), st.floats(0, 100)
    )
)
def test_times_are_never_negative(times: dict[str, float]) -> None:
    for way in Way:
        assert min(_seconds(Guest(way, MIB), 0, 1, times).values()) >= 0


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_of_a_guest_are_judged(console: bytes, answer: bytes) -> None:
    with ExitStack() as stack:
        wires = Wires(stack)
        watch = _Watch(
            wires.machine, Guest(Way.PV_GRUB, MIB, network=NETWORK), Expected("\0never", body="\0never")
        )
        wires.say(b"LAB: answered 0\r\n" + shut_down(3), console, answer)
        assert verdict(watch) == (Verdict.CRASHED, "it crashed")
