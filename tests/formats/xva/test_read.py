"""Reading: exports of every kind come back as disks, and nothing hostile costs more than an error."""

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import VerificationError
from imagekit.formats.xva import Xva, archive, tar

from .conftest import APPLIANCE, MIB, Image, chunk, export, image_of, read, sha1, xxh64

END = bytes(1024)
DATA = random.Random(1).randbytes(MIB)  # noqa: S311 -- data, no secret


def test_comes_back(image: Image, whole: bytes) -> None:
    assert read(whole) == {"Ref:2": image.path.read_bytes()}


def test_facts(whole: bytes) -> None:
    facts = Xva(iter([whole])).facts
    (machine,), (disk,) = facts.machines, facts.disks
    assert (facts.version.brand, facts.version.xapi, facts.version.export) == ("imagekit", (1, 0), 2)
    assert (machine.name, machine.kind, machine.memory, machine.vcpus) == (APPLIANCE.name, "pvh", 64 * MIB, 2)
    assert (machine.description, machine.bootloader, machine.cmdline) == (
        "two\nlines",
        "pygrub",
        APPLIANCE.cmdline,
    )
    assert machine.networks == ("Größe", "xenbr1", "Größe")
    assert machine.disks == (disk.reference,)
    assert disk.size == 20 * MIB + 1536


@pytest.mark.parametrize("form", ["ustar", "gnu", "v7"])
def test_what_gnu_tar_packed_comes_back(image: Image, whole: bytes, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "apart"
    folder.mkdir()
    run("tar", "-x", "-C", folder, stdin=whole)
    names = run("tar", "-t", stdin=whole).stdout.decode().split()
    other = run("tar", f"--format={form}", "-C", folder, "-c", *names).stdout
    assert read(other)["Ref:2"] == image.path.read_bytes()


def two_members(data: bytes) -> bytes:
    return gzip.compress(data[:5000]) + gzip.compress(data[5000:])


def two_frames(data: bytes) -> bytes:
    return zstandard.compress(data[:5000]) + zstandard.compress(data[5000:])


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, two_members, two_frames])
@pytest.mark.parametrize("step", [1 << 20, 700])
def test_packed_exports_come_back(image: Image, whole: bytes, pack: Callable[[bytes], bytes], step: int) -> None:
    assert read(pack(whole), step)["Ref:2"] == image.path.read_bytes()


@pytest.mark.parametrize("beside", [sha1, xxh64])
def test_either_checksum(beside: Callable[[str, bytes], bytes]) -> None:
    data = export(("Ref:1", MIB)) + chunk("Ref:1/00000000", DATA, beside) + END
    assert read(data) == {"Ref:1": DATA}


def test_several_disks_come_in_the_order_of_their_references_as_text() -> None:
    data = export(("Ref:9", 512), ("Ref:10", 2 * MIB))
    data += (
        chunk("Ref:10/00000000", DATA) + chunk("Ref:10/00000001", DATA[::-1]) + chunk("Ref:9/00000000", DATA[:512])
    )
    assert read(data + END) == {"Ref:10": DATA + DATA[::-1], "Ref:9": DATA[:512]}


def test_an_empty_chunk_takes_a_number_and_no_place() -> None:
    data = export(("Ref:1", 3 * MIB)) + chunk("Ref:1/00000000", DATA)
    data += chunk("Ref:1/00000001", b"") + chunk("Ref:1/00000003", DATA)  # 2 is left out: a chunk of zeros
    assert read(data + END) == {"Ref:1": DATA + bytes(MIB) + DATA}


def test_old_exports_have_their_checksums_once_more() -> None:
    data = export(("Ref:1", 512), version="1") + chunk("Ref:1/00000000", bytes(512))
    assert read(data + tar.padded("checksum.xml", b"<value/>") + END) == {"Ref:1": bytes(512)}


def test_compact_disks_and_snapshots_are_left_out() -> None:
    cd = (
        "<value><struct><member><name>class</name><value>VDI</value></member><member><name>id</name>"
        "<value>Ref:7</value></member><member><name>snapshot</name><value><struct><member><name>SR</name>"
        "<value>Ref:91</value></member></struct></value></member></struct></value>"
    )
    snapshot = (
        cd.replace("VDI", "VM")
        .replace("Ref:7", "Ref:8")
        .replace(
            "<name>SR</name><value>Ref:91</value>", "<name>is_a_snapshot</name><value><boolean>1</boolean></value>"
        )
    )
    facts = Xva(iter([export(("Ref:1", 512), extra=cd + snapshot)])).facts
    assert [disk.reference for disk in facts.disks] == ["Ref:1"]
    assert len(facts.machines) == 1


@settings(max_examples=25)
@given(
    sectors=st.integers(1, 8000),
    runs=st.lists(st.tuples(st.integers(0, 8000), st.integers(1, 300)), max_size=5),
    step=st.sampled_from([511, 65536, MIB]),
    packing=st.sampled_from([None, "gzip", "zstd"]),
)
def test_every_image_comes_back(
    tmp_path: Path, sectors: int, runs: list[tuple[int, int]], step: int, packing: str | None
) -> None:
    size = sectors * 512
    inside = [(at * 512, min(length * 512, size - at * 512)) for at, length in runs if at < sectors]
    image = image_of(tmp_path / "x.raw", size, inside)
    made = archive(APPLIANCE, image.blocks)
    data = b"".join(made.pieces(image.read_at) if packing is None else made.packed(image.read_at, packing))  # type: ignore[arg-type]
    assert read(data, step) == {"Ref:2": image.path.read_bytes()}


@settings(max_examples=300)
@given(data=st.data())
def test_damage_is_told_or_harmless(data: st.DataObject) -> None:
    good = export(("Ref:1", 1536)) + chunk("Ref:1/00000000", bytes(range(256)) * 6) + END
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(bad), data.draw(st.integers(0, len(bad)))]))
    try:
        disks = read(bytes(bad[:cut]))
    except VerificationError:
        return
    assert all(len(disk) <= 1 << 20 for disk in disks.values())


@settings(max_examples=200)
@given(st.binary(max_size=2000))
def test_rubbish_is_no_xva(data: bytes) -> None:
    with pytest.raises(VerificationError):
        read(data)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", size: bytes | None = None) -> bytes:
    """Return a member with any name, type and size."""
    head = bytearray(tar.header("x", len(data)))
    head[:100] = name.ljust(100, b"\0")
    head[156:157] = kind
    if size is not None:
        head[124:136] = size
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + tar.padding(len(data))


def xml(text: str) -> bytes:
    return tar.padded("ova.xml", text.encode()) + END


ONE = export(("Ref:1", MIB))
FIRST = chunk("Ref:1/00000000", DATA)
LAUGHS = "<!DOCTYPE v [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]><value>&b;</value>"


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "too early"),
        (END, "begins with ova.xml"),
        (bytes([1]) * 512, "no tar"),
        (member(b"../../etc/passwd", b"x"), "begins with ova.xml"),
        (member(b"ova.xml", kind=b"2"), "no plain file"),
        (member(b"ova.xml", kind=b"L"), "no plain file"),
        (member(b"\xff\xfe"), "no text"),
        (member(b"ova.xml", size=b"77777777777\0"), "more than any"),
        (member(b"ova.xml", size=b"-0000000001\0"), "a number that is none"),
        (member(b"ova.xml", size=b"\x80" + bytes(11)), "a number that is none"),
        (xml(""), "no value"),
        (xml("<value>"), "no value"),
        (xml("<html/>"), "where none belongs"),
        (xml("<value>1</value><value>2</value>"), "no value"),
        (xml(LAUGHS), "document type"),
        (xml("<value><array><data>" * 40), "beyond all measure"),
        (xml("<value><struct/></value>"), "has no objects"),
        (xml("<value><struct/><array/></value>"), "two values in one"),
        (xml("<value><boolean>2</boolean></value>"), "the boolean"),
        (xml("<value><double>x</double></value>"), "no value"),
        (xml("<value><array><data/></array></value>"), "no struct"),
        (xml("<value><struct><member><value>1</value></member></struct></value>"), "without a name"),
        (xml("<value><struct><member><name>a</name><name>b</name></member></struct></value>"), "no value for a"),
        (export(("Ref:1", -1)), "a disk of -1 bytes"),
        (export(("Ref:1", 1 << 60)), "a disk of"),
        (export(("Ref:1", 10**400)), "the number"),  # int() of it would take time
        (export(("Ref:1", 1), ("Ref:1", 1)), "two objects"),
        (export(*((f"Ref:{number}", 1) for number in range(1000, 2025))), "1025 disks"),
        (ONE, "too early"),
        (ONE + END, "ends before a chunk"),
        (ONE + tar.padded("Ref:1/00000000", DATA) + END, "ends before the checksum"),
        (ONE + chunk("Ref:1/00000000", DATA, lambda name, _: sha1(name, b"")) + END, "is damaged"),
        (ONE + chunk("Ref:1/00000000", DATA, lambda name, _: xxh64(name, b"")) + END, "is damaged"),
        (ONE + chunk("Ref:1/00000000", DATA, lambda _, data: sha1("Ref:1/00000001", data)), "no checksum beside"),
        (
            ONE + chunk("Ref:1/00000000", DATA, lambda name, _: tar.padded(f"{name}.md5", b"")),
            "no checksum beside",
        ),
        (
            ONE + chunk("Ref:1/00000000", DATA, lambda name, _: tar.padded(f"{name}.checksum", DATA)),
            "more than any",
        ),
        (ONE + chunk("Ref:2/00000000", DATA) + END, "where a chunk of Ref:1 belongs"),
        (ONE + chunk("Ref:1/0000000x", DATA) + END, "where a chunk of Ref:1 belongs"),
        (ONE + chunk("Ref:1/000000000", DATA) + END, "where a chunk of Ref:1 belongs"),
        (ONE + chunk("Ref:1/00000000", DATA * 2) + END, "more than any"),
        (ONE + chunk("Ref:1/00000000", b"") + END, "do not fit"),
        (ONE + chunk("Ref:1/00000001", DATA) + END, "do not fit"),
        (ONE + chunk("Ref:1/00000000", DATA[:512]) * 2 + END, "do not rise"),
        (ONE + chunk("Ref:1/00000000", DATA[:512]) + chunk("Ref:1/99999999", DATA[:512]) + END, "do not fit"),
        (ONE + FIRST + chunk("Ref:1/00000001", DATA) + END, "goes on after"),
        (ONE + FIRST, "too early"),
        (gzip.compress(ONE + FIRST + END)[:-9], "ends too early"),
        (gzip.compress(ONE)[:30] + b"\xff" * 4000, "gzip is damaged"),
        (zstandard.compress(ONE + FIRST + END)[:-9], "ends too early"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 400, "zstd is damaged"),
    ],
)
def test_hostile(data: bytes, words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        read(data)


def test_a_bomb_is_read_in_steps() -> None:
    packed = zstandard.compress(ONE[:1024] + bytes(1 << 30))
    with pytest.raises(VerificationError):
        read(packed)
