"""Files made to break a reader: it answers with facts or with KernelError, soon, and in little memory."""

import bz2
import lzma
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.errors import KernelError
from imagekit.kernel import KernelFacts, Way, read_kernel_bytes, why_not
from tests.kernel.elf_builder import (
    PACKERS,
    PT_NOTE,
    SHT_NOTE,
    SHT_PROGBITS,
    Builder,
    Section,
    Segment,
    bzimage,
    kernel,
    lz4_legacy,
    lzop,
    note,
    pv_notes,
    pvh_notes,
    sized,
)


class Compressor(Protocol):
    """What zlib, bz2 and lzma have in common."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


MIB = 1 << 20
SECONDS, MEGABYTES = 2.0, 200.0
ROOT = Path(__file__).parents[2]
LZOP_HEADER = 39
LEGACY = (Section("__xen_guest", b"LOADER=generic,XEN_VER=xen-3.0,HYPERCALL_PAGE=0x2,VIRT_BASE=1\0"),)
PLAIN = [
    kernel(pv_notes() + pvh_notes(), sections=(Section(".note", pvh_notes(), SHT_NOTE),)),
    kernel(pv_notes(size=4), bits=32, machine=3),
    Builder(sections=LEGACY).build(),
    Builder(sections=LEGACY, order=">").build(),
]
PACKED = [pack(PLAIN[0]) for pack in PACKERS.values()]
LINUX = [bzimage(sized(pack(PLAIN[0]), len(PLAIN[0]))) for pack in PACKERS.values()]
ODD_INTEGERS = st.sampled_from(
    [0, 1, 2, 4, 0x7F, 0xFF, 0xFFF0, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
)


def judged(data: bytes) -> None:
    """Read it; facts must travel as JSON, and be judged for every way."""
    facts, said = None, ""
    try:
        facts = read_kernel_bytes(data)
    except KernelError as error:
        said = str(error)
    if facts is None:
        assert 0 < len(said) < 2000
    else:
        assert KernelFacts.from_json(facts.to_json()) == facts
        ways = {way for way in Way if why_not(facts, way) is None}
        assert Way.PVH not in ways or facts.phys32_entry is not None
        assert Way.PV_DIRECT not in ways or facts.entry is not None


COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "gzip": lambda: zlib.compressobj(1, wbits=31),
    "bzip2": lambda: bz2.BZ2Compressor(1),
    "xz": lambda: lzma.LZMACompressor(preset=0),
    "lzma": lambda: lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=0),
}


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes], head: int) -> bytes:
    """A kernel with bytes flipped and numbers put in, mostly in its first `head` bytes, and perhaps cut short."""
    data = bytearray(draw(st.sampled_from(originals)))
    places = st.integers(0, min(head, len(data)) - 9) | st.integers(0, len(data) - 9)
    for at, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        data[at] ^= value
    for at, value, form in draw(st.lists(st.tuples(places, ODD_INTEGERS, st.sampled_from("HIQ")), max_size=3)):
        struct.pack_into(f"<{form}", data, at, value & (1 << 8 * struct.calcsize(form)) - 1)
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


@settings(max_examples=400, deadline=None)
@given(mutated(PLAIN, 400))
def test_mutated_kernels(data: bytes) -> None:
    judged(data)


@settings(max_examples=200, deadline=None)
@given(mutated(PACKED, 40))
def test_mutated_wrappings(data: bytes) -> None:
    judged(data)


@settings(max_examples=200, deadline=None)
@given(mutated(LINUX, 0x250))
def test_mutated_bzimages(data: bytes) -> None:
    judged(data)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_samples(samples: Path, data: st.DataObject) -> None:
    originals = [path.read_bytes() for path in sorted(samples.glob("*.xen*"))]
    judged(data.draw(mutated(originals, 512)))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"\x7fELF", b"\x7fELF\2\1\1", b"\x1f\x8b\x08", b"BZh9", b"\x89LZO\0\r\n\x1a\n"]),
    st.binary(),
)
def test_anything(magic: bytes, rest: bytes) -> None:
    judged(magic + rest)


def bomb(packing: str) -> bytes:
    """1 GiB of zeros; a quarter of it where packing takes seconds, which is twice what a reader will look at."""
    if packing == "zstd":  # blocks of four bytes that each say 128 KiB: far denser than a compressor writes them
        return b"\x28\xb5\x2f\xfd\x00\x88" + b"\x02\x00\x10\x00" * 8191 + b"\x03\x00\x10\x00"
    if packing == "lzo":
        block = lzop(bytes(256 * 1024), block=256 * 1024)
        return block[:LZOP_HEADER] + block[LZOP_HEADER:-4] * 4096 + bytes(4)
    if packing == "lz4":
        block = lz4_legacy(bytes(8 * MIB))
        return block[:4] + block[4:] * 32
    packer = COMPRESSORS[packing]()
    packed = [packer.compress(bytes(MIB)) for _ in range(1024 if packing == "gzip" else 256)]
    return b"".join([*packed, packer.flush()])


def with_largest_dictionary(xz: bytes) -> bytes:
    """An xz file whose first block now asks for 128 MiB, the most that we grant."""
    header = xz[12:16] + b"\x1e" + xz[17:20]
    return xz[:12] + header + struct.pack("<I", zlib.crc32(header)) + xz[24:]


def sections(kind: int) -> bytes:
    """A file with the most sections a header can tell, all of one type."""
    count = 0xFFFF
    one = struct.pack("<IIQQQQIIQQ", 1, kind, 0, 0, 1024, 4096, 0, 0, 4, 0)
    plain = Builder()
    size = len(plain.build())
    return Builder(header={5: size, 11: count, 12: 1}).build() + one * count


def overlapping_notes() -> bytes:
    notes = note(6, "x" * 4000) * 16
    offset = 64 + 56 * 128
    return Builder(tuple(Segment(PT_NOTE, offset=offset, size=len(notes)) for _ in range(128))).build() + notes


NASTY: dict[str, Callable[[], bytes]] = {
    **{f"{packing} bomb": partial(bomb, packing) for packing in PACKERS},
    "xz bomb with a large dictionary": lambda: with_largest_dictionary(bomb("xz")),
    "bomb in a bomb": lambda: PACKERS["gzip"](PACKERS["xz"](bomb("zstd"))),
    "bomb in a bzImage": lambda: bzimage(sized(bomb("zstd"), 1 << 30)),
    "packed bombs in a bzImage": lambda: PACKERS["xz"](bzimage(sized(bomb("zstd"), 1 << 30)) + bytes(60 * MIB)),
    "gzip in gzip": lambda: PACKERS["gzip"](PACKERS["gzip"](PACKERS["gzip"](PACKERS["gzip"](PLAIN[0])))),
    "many sections": lambda: sections(SHT_PROGBITS),
    "many sections of notes": lambda: sections(SHT_NOTE),
    "many segments": lambda: kernel(b"", header={9: 0xFFFF}),
    "overlapping notes": overlapping_notes,
    "notes of nothing": lambda: kernel(bytes(64 * MIB)),
    "large file": lambda: b"\x7fELF" + bytes(400 * MIB),
    "large packed file": lambda: b"\x28\xb5\x2f\xfd\x00\x88" + (b"\x00\x00\x10" + bytes(128 * 1024)) * 1200,
}

READ_AND_TELL = """
import sys, time
from pathlib import Path
from imagekit.errors import KernelError
from imagekit.kernel import read_kernel
start = time.process_time()
try:
    read_kernel(Path(sys.argv[1]))
    outcome = "read"
except KernelError as error:
    outcome = "refused"
print(outcome, time.process_time() - start)
# The peak of this program alone; getrusage would tell its parent's, if that was larger.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def cost(path: Path) -> tuple[str, float, float]:
    """What came of reading a file in a program of its own, the seconds, and the MB of its peak memory."""
    argv = [sys.executable, "-c", READ_AND_TELL, str(path)]
    told = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT, env={}).stdout
    outcome, seconds, kilobytes = told.split()
    return outcome, float(seconds), int(kilobytes) * 1024 / 1e6


@pytest.mark.parametrize("name", NASTY)
def test_nasty_files_cost_little(name: str, tmp_path: Path) -> None:
    path = tmp_path / "nasty"
    path.write_bytes(NASTY[name]())
    outcome, seconds, megabytes = cost(path)
    path.unlink()
    assert outcome == ("read" if name in {"many sections", "overlapping notes"} else "refused")
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


def test_a_sparse_file_that_says_it_is_elf(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    path.write_bytes(PLAIN[0])
    with path.open("r+b") as file:
        file.truncate(4 << 30)
    assert cost(path)[0] == "refused"
