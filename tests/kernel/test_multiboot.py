"""Multiboot headers: where GRUB finds one, and which it takes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.kernel import read_kernel_bytes
from imagekit.kernel.multiboot import has_multiboot2
from tests.kernel.elf_builder import Builder, Segment


def multiboot(flags: int = 3) -> bytes:
    return struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)


def tag(kind: int, content: bytes = b"", *, optional: bool = False, size: int | None = None) -> bytes:
    """Return a tag of Multiboot 2, filled up to 8 bytes."""
    whole = struct.pack("<HHI", kind, optional, 8 + len(content) if size is None else size) + content
    return whole + bytes(-len(whole) % 8)


END = tag(0)


def multiboot2(tags: bytes = END, *, architecture: int = 0, length: int | None = None) -> bytes:
    count = 16 + len(tags) if length is None else length
    checksum = -(0xE85250D6 + architecture + count) & 0xFFFFFFFF
    return struct.pack("<IIII", 0xE85250D6, architecture, count, checksum) + tags


@pytest.mark.parametrize(
    "header, at, found",
    [
        (multiboot(), 0x400, (True, False)),
        (multiboot(), 8192 - 12, (True, False)),
        (multiboot(0x10007), 0x400, (True, False)),
        (multiboot(0xB), 0x400, (False, False)),
        (multiboot(0x8003), 0x400, (False, False)),
        (multiboot(), 8192 - 8, (False, False)),
        (multiboot(), 0x402, (False, False)),
        (multiboot()[:8] + bytes(4), 0x400, (False, False)),
        (multiboot2(), 0x400, (False, True)),
        (multiboot2(), 32768 - 24, (False, True)),
        (multiboot2(), 32768 - 16, (False, False)),
        (multiboot2(), 0x404, (False, False)),
        (multiboot2(architecture=4) + multiboot2(), 0x400, (False, True)),
    ],
)
def test_multiboot_headers(header: bytes, at: int, found: tuple[bool, bool]) -> None:
    content = bytes(at - 120) + header + bytes(100)  # 120: the headers of a file with one segment
    facts = read_kernel_bytes(Builder((Segment(content=content),)).build())
    assert (facts.multiboot, facts.multiboot2) == found


@pytest.mark.parametrize(
    "header, found",
    [
        (multiboot2(architecture=4), False),
        (multiboot2(b""), False),
        (multiboot2(length=16), False),
        (multiboot2(tag(3, b"entr")), False),
        (multiboot2(END[:6]), True),  # its size written as 16 bits
        (multiboot2(tag(4, b"\3\0\0\0") + tag(6) + tag(7) + tag(9, bytes(4)) + tag(10, bytes(16)) + END), True),
        (multiboot2(tag(8, bytes(4)) + END), False),  # EFI's 32-bit entry, which GRUB 2.06 does not know
        (multiboot2(tag(8, bytes(4), optional=True) + END), True),
        (multiboot2(tag(11) + END), False),
        (multiboot2(tag(0x4000, optional=True) + END), True),
        (multiboot2(tag(1, struct.pack("<4I", 1, 3, 6, 21)) + END), True),
        (multiboot2(tag(1, struct.pack("<2I", 1, 22)) + END), False),
        (multiboot2(tag(1, struct.pack("<I", 13)) + END), False),
        (multiboot2(tag(1, struct.pack("<I", 13), optional=True) + END), True),
        (multiboot2(tag(2, bytes(16)) + END), False),
        (multiboot2(tag(2, bytes(16)) + tag(3, bytes(4)) + END), True),
        (multiboot2(tag(4, b"\1\0\0\0") + END), False),
        (multiboot2(tag(4, b"\1\0\0\0") + tag(5, bytes(12)) + END), True),
        (multiboot2(tag(6, size=0) + END), False),
        (multiboot2(tag(6, size=7) + END), False),
        (multiboot2(tag(6, size=17) + END), False),
        (multiboot2(tag(6, size=2**32 - 1) + END), False),
        (multiboot2(tag(6) + END, length=2**32 - 1), True),
        (multiboot2(tag(6) * 4000, length=2**31), False),
    ],
)
def test_what_a_header_of_multiboot_2_asks_for(header: bytes, found: bool) -> None:
    assert has_multiboot2(bytes(64) + header + b"\xcc" * 64) == found


@given(
    tags=st.lists(
        st.builds(
            tag,
            st.integers(0, 12),
            st.binary(max_size=20),
            optional=st.booleans(),
            size=st.none() | st.sampled_from([0, 1, 8, 2**16, 2**32 - 1]),
        )
    ).map(b"".join),
    length=st.none() | st.integers(0, 2**32 - 1),
    behind=st.binary(),
)
def test_any_header_of_multiboot_2(tags: bytes, length: int | None, behind: bytes) -> None:
    """What GRUB takes ends in itself: nothing that lies behind it makes it another header."""
    header = multiboot2(tags, length=length)
    if has_multiboot2(header):
        assert has_multiboot2(header + behind)
        assert tag(0)[:2] in header[16:]
    elif length is None:
        assert not has_multiboot2(header + b"\xcc" + behind)


@given(st.binary(max_size=200))
def test_any_tags_of_multiboot_2(content: bytes) -> None:
    assert has_multiboot2(multiboot2(content)) == has_multiboot2(multiboot2(content) + multiboot2(content))
