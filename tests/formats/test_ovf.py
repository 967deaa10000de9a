"""The .tgz of a VHD: one member by one name, the same bytes every time, and nothing else is taken for one."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import VerificationError
from imagekit.formats import ovf, vhd
from imagekit.sparse import map_blocks
from imagekit.unwrap import Form, form_of, take_out

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(8 * MIB)
        file.write(os.urandom(MIB))
        file.seek(5 * MIB)
        file.write(b"in the middle")
    return path


@pytest.fixture
def packed(image: Path, tmp_path: Path) -> Path:
    path = tmp_path / "disk.tgz"
    path.write_bytes(pack(image))
    return path


def pack(image: Path) -> bytes:
    with image.open("rb") as file:
        made = vhd.layout(map_blocks(image), 0)
        return b"".join(ovf.pieces(made, lambda offset, length: os.pread(file.fileno(), length, offset)))


def taken_out(path: Path, out: Path) -> bytes:
    with out.open("xb") as file:
        take_out(path, form_of(path), file.fileno())
    return out.read_bytes()


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member, data in members:
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def test_tar_reads_one_member(packed: Path, tmp_path: Path) -> None:
    listed = run("tar", "-tzvf", packed, timeout=60).stdout.decode().split()
    assert (listed[0], listed[-1], len(listed)) == ("-r--------", "0.vhd", 6)
    run("tar", "-xzf", packed, "-C", tmp_path, timeout=60)
    raw = tmp_path / "disk.raw"
    run("qemu-img", "compare", "-f", "vpc", "-F", "raw", tmp_path / "0.vhd", raw, timeout=60)


def test_same_input_same_bytes(image: Path, packed: Path) -> None:
    assert pack(image) == packed.read_bytes()


def test_the_disk_comes_out_again(image: Path, packed: Path, tmp_path: Path) -> None:
    assert form_of(packed) is Form.OVF
    out = tmp_path / "out.raw"
    assert taken_out(packed, out) == image.read_bytes()
    assert out.stat().st_blocks * 512 < 4 * MIB, "its holes are kept"


def test_others_names_are_no_images(packed: Path, tmp_path: Path) -> None:
    data = b"".join(ovf.read(packed))
    folder = tarfile.TarInfo("./")
    folder.type = tarfile.DIRTYPE
    link = tarfile.TarInfo("0.vhd")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for members in (
        [(folder, b""), (tarfile.TarInfo("./0.vhd"), data)],
        [(tarfile.TarInfo("image"), data)],
        [(link, b"")],
        [],
    ):
        with pytest.raises(VerificationError, match=r"does not begin with a disk of the name 0\.vhd"):
            list(ovf.read(archive(tmp_path / "other.tgz", *members)))


def test_a_chain_is_told(packed: Path, tmp_path: Path) -> None:
    data = b"".join(ovf.read(packed))
    two = archive(tmp_path / "two.tgz", (tarfile.TarInfo("0.vhd"), data), (tarfile.TarInfo("1.vhd"), data))
    with pytest.raises(VerificationError, match="more than one disk"):
        list(ovf.read(two))


def test_a_difference_has_its_parent_nowhere(image: Path, tmp_path: Path) -> None:
    base = vhd.layout(map_blocks(image), 0)
    child = tmp_path / "child.vhd"
    with image.open("r+b") as file:
        file.write(b"changed")
    parent = vhd.Parent(vhd.read_vhd(lambda at, n: b"".join(base.pieces(lambda *_: b""))[at : at + n], base.length)
                        .footer.uuid, 0, "base.vhd")  # fmt: skip
    made = vhd.difference(map_blocks(image), map_blocks(tmp_path / "disk.raw"), parent, 0)
    with image.open("rb") as file:
        child.write_bytes(b"".join(made.pieces(lambda at, n: os.pread(file.fileno(), n, at))))
    packed = archive(tmp_path / "child.tgz", (tarfile.TarInfo("0.vhd"), child.read_bytes()))
    with pytest.raises(VerificationError, match="no parent"):
        taken_out(packed, tmp_path / "out.raw")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 1 << 22), byte=st.integers(1, 255), cut=st.booleans())
def test_damage_is_told(packed: Path, at: int, byte: int, cut: bool) -> None:
    good = packed.read_bytes()
    at %= len(good)
    bad = good[:at] if cut else good[:at] + bytes([good[at] ^ byte]) + good[at + 1 :]
    path = packed.with_name("bad.tgz")
    path.write_bytes(bad)
    try:
        read = b"".join(ovf.read(path))
    except VerificationError:
        return
    assert read == b"".join(ovf.read(packed)), "only what is no part of the data may change unseen"
