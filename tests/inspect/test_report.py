"""Whole files inspected: kernels, disks, and what is neither; as text and as JSON."""

import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.errors import UsageError, VerificationError
from imagekit.inspect import inspect, text
from imagekit.inspect.report import Kind
from imagekit.inspect.tree import DETAILED
from imagekit.inspect.words import listed, several, shown, size

MakeDisk = Callable[..., Path]
MENU = b"default 0\ntimeout 0\ntitle app\nroot (hd0,0)\nkernel /boot/app.xen\nmodule /boot/extra\n"


@pytest.fixture
def disk(make_disk: MakeDisk, kernels: Path) -> Path:
    files = {
        "boot/app.xen": (kernels / "hello.xen").read_bytes(),
        "boot/grub/menu.lst": MENU,
        "etc/link": "../boot/app.xen",
        "\x1b[31mred\u202e\n": b"x",
        **{f"many/{index:03}": b"y" for index in range(50)},
    }
    return make_disk(files, table="mbr", options=("-N", "100"))


def test_a_disk(disk: Path) -> None:
    report = inspect(disk)
    (found,) = report.filesystems
    assert (report.kind, report.size, found.kind, found.partition) == ("disk", 10 << 20, "ext2", 1)
    assert report.allocated < report.size
    assert found.tree is not None
    roles = {entry.path: entry.role for entry in found.tree.entries if entry.role}
    assert roles == {"/boot/app.xen": "kernel", "/boot/grub/menu.lst": "boot"}
    kinds = {part.kind for part in report.segments}
    assert {Kind.TABLE, Kind.KERNEL, Kind.BOOT, Kind.HOLE, Kind.INODES, Kind.FILE} <= kinds
    assert sum(part.length for part in report.segments) == report.size
    (kernel,) = [part for part in report.segments if part.kind is Kind.KERNEL]
    data = disk.read_bytes()[kernel.start : kernel.end]
    assert data.startswith(b"\x7fELF")


def test_a_disk_as_text(disk: Path) -> None:
    told = text.render(inspect(disk))
    assert "MBR, signature 1234abcd" in told
    assert "Partition 1: ext2, 8 MiB" in told
    assert "and 14 more files" in told
    assert "../boot/app.xen" in told
    assert "module /boot/extra" in told
    assert "boots  pygrub" in told
    assert "\\x1b[31mred\\u202e\\n" in told
    assert all(line.isprintable() for line in told.split("\n"))
    assert not any(line.endswith(" ") for line in told.split("\n"))


def test_a_report_travels_as_json(disk: Path) -> None:
    content = json.loads(json.dumps(inspect(disk).to_json()))
    assert (content["schema"], content["kind"]) == (1, "disk")
    assert content["verdicts"][0]["chain"][0] == {"what": "loader", "text": "pygrub", "holds": True}


@pytest.mark.parametrize(
    "name,refused,taken",
    [
        ("hello.xen", {"pvh", "pvh-pygrub", "multiboot", "linux", "hvm"}, {"pv", "pygrub", "pv-grub"}),
        ("hello-pvh.xen", {"pv", "pygrub", "pv-grub", "linux"}, {"pvh", "pvh-pygrub", "multiboot", "hvm"}),
    ],
)
def test_a_kernel(kernels: Path, name: str, refused: set[str], taken: set[str]) -> None:
    report = inspect(kernels / name)
    (kernel,) = report.kernels
    assert (report.kind, report.segments, kernel.partition) == ("kernel", (), -1)
    assert {way.name for way in kernel.ways if not way.boots and way.why} == refused
    assert {way.name for way in kernel.ways if way.boots} == taken
    assert f"{name}: {kernel.summary}" in text.render(report)


def test_a_packed_kernel_says_so(kernels: Path) -> None:
    assert inspect(kernels / "hello.xen.gz").kernels[0].summary == "PV kernel, 64-bit ELF, packed by gzip"


@pytest.mark.parametrize(
    "data,brief",
    [
        (b"", "neither a kernel"),
        (b"hello", "neither a kernel"),
        (bytes(1 << 20), "neither a kernel"),
        (b"\x7fELF" + bytes(100), "neither a kernel"),
        (b"conectix" + bytes(1000), "not a VHD: there is no footer"),
        (b"PK\3\4" + bytes(1000), "a zip, neither"),
    ],
)
def test_what_is_neither_is_refused(tmp_path: Path, data: bytes, brief: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(VerificationError, match=brief):
        inspect(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        inspect(tmp_path / "missing")
    with pytest.raises(UsageError, match="no file"):
        inspect(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="no file"):
        inspect(tmp_path / "pipe")


@pytest.mark.parametrize(
    "command,kind",
    [
        (("mkfs.xfs", "-q", "-f", "-L", "label"), "xfs"),
        (("mkfs.xfs", "-q", "-f", "-m", "crc=0", "-L", "label"), "xfs v4"),
        (("mkfs.btrfs", "-q", "-L", "label"), "btrfs"),
        (("mkfs.reiserfs", "-q", "-ff", "-l", "label"), "reiserfs"),
        (("mkswap", "-q", "-L", "label"), "swap"),
    ],
)
def test_other_file_systems_are_named(tmp_path: Path, command: tuple[str, ...], kind: str) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(320 << 20)
    run(command[0], *command[1:], path)
    report = inspect(path)
    (found,) = report.filesystems
    assert (found.kind, found.label) == (kind, "label")
    assert found.uuid in run("blkid", "-o", "value", path).text()
    assert f"{kind}, 320 MiB" in text.render(report)
    assert {verdict.boots for verdict in report.verdicts} <= {None, False}


def test_a_partition_with_nothing_known_is_drawn_as_such(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(8 << 20)
    run("sfdisk", "-q", path, stdin=b"label: gpt\nstart=2048, size=4096, name=a\n")
    report = inspect(path)
    assert "nothing known in it" in next(part for part in report.segments if part.kind is Kind.OTHER).label
    assert "GPT " in text.render(report)


def test_a_great_tree_is_told_in_part(make_disk: MakeDisk) -> None:
    files = {f"d{index % 7}/file{index:05}": b"z" * (index % 3000) for index in range(DETAILED + 500)}
    image = make_disk({**files, "boot/x": b"boot"}, mib=16, options=("-N", "4000"))
    report = inspect(image)
    tree = report.filesystems[0].tree
    assert tree is not None
    assert (tree.files, len(tree.entries)) == (len(files) + 1, DETAILED)
    assert "/boot/x" in {entry.path for entry in tree.entries}
    assert Kind.OTHER in {part.kind for part in report.segments}


def test_a_broken_image_is_told_not_raised(disk: Path) -> None:
    data = bytearray(disk.read_bytes())
    struct.pack_into("<I", data, (1 << 20) + 1024 + 4, 1 << 30)
    disk.write_bytes(data)
    assert "problem: the file system is larger than the place it lies in" in text.render(inspect(disk))


def test_importing_it_reads_no_elf() -> None:
    code = "import sys, imagekit.inspect; sys.exit('elftools' in sys.modules)"
    assert run(sys.executable, "-c", code).status == 0


def test_words() -> None:
    assert [size(count) for count in (0, 1023, 1024, 1536, 5 << 30, 1 << 70)] == [
        *("0 bytes", "1,023 bytes", "1 KiB", "1.5 KiB", "5 GiB", "1,024 EiB"),
    ]
    assert (several(1, "file"), several(2, "entry", "entries")) == ("1 file", "2 entries")
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert shown("a\tb\x85\u2028é") == "a\\tb\\x85\\u2028é"
