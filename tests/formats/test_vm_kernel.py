"""The tar of a kernel's folder: as other programs read it, the same bytes every time, and no others are taken."""

import hashlib
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import UnsuitedError, VerificationError
from imagekit.formats.vm_kernel import EMPTY, INITRAMFS, VMLINUZ, Folder, is_one, pack, read
from imagekit.kernel.read import LARGEST
from imagekit.unwrap import Form, form_of, take_out

EPOCH = 946684800
APP = Folder("app", b"\x7fELF" + b"kernel" * 1000, EMPTY)

Member = tuple[tarfile.TarInfo, bytes]


def packed(folder: Folder, epoch: int) -> bytes:
    out = io.BytesIO()
    files = {VMLINUZ: io.BytesIO(folder.kernel), INITRAMFS: io.BytesIO(folder.initramfs)}
    pack(folder.name, files, out, epoch)
    return out.getvalue()


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "app.tar"
    path.write_bytes(packed(APP, EPOCH))
    return path


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info, data


FOLDER = member("app", kind=tarfile.DIRTYPE)
KERNEL = member("app/vmlinuz", b"kernel")
NOTHING = member("app/initramfs", EMPTY)


def written(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return path


def test_the_bytes_are_these() -> None:
    """And stay so, whichever Python writes them."""
    told = hashlib.sha256(packed(Folder("app", b"kernel", EMPTY), EPOCH)).hexdigest()
    assert told == "808a2fc816c38171ac90de3e9ea37dc1298bb6846e0886ea9b3b963441af34aa"


def test_without_a_ramdisk_it_is_the_same() -> None:
    out = io.BytesIO()
    pack("app", {VMLINUZ: io.BytesIO(APP.kernel)}, out, EPOCH)
    assert out.getvalue() == packed(APP, EPOCH)


def test_a_large_kernel_is_not_held(tmp_path: Path) -> None:
    """100 MiB are copied with a few of them in memory at a time."""
    with (tmp_path / "vmlinuz").open("w+b") as kernel, (tmp_path / "app.tar").open("w+b") as out:
        kernel.truncate(100 << 20)
        tracemalloc.start()
        try:
            pack("app", {VMLINUZ: kernel}, out, EPOCH)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert out.tell() > 100 << 20
    assert most < 4 << 20


@pytest.mark.parametrize("name", [VMLINUZ, INITRAMFS])
def test_what_is_larger_than_any_kernel(tmp_path: Path, name: str) -> None:
    out = io.BytesIO()
    with (tmp_path / "large").open("w+b") as large:
        large.truncate(LARGEST + 1)
        with pytest.raises(UnsuitedError, match=f"the {name} is too large for Qubes' dom0: {LARGEST + 1} bytes"):
            pack("app", {VMLINUZ: io.BytesIO(b"kernel"), name: large}, out, EPOCH)
    assert out.getvalue() == b"", "nothing was written"
    claimed = member(f"app/{name}")
    claimed[0].size = LARGEST + 1
    (tmp_path / "app.tar").write_bytes(FOLDER[0].tobuf() + claimed[0].tobuf() + bytes(1024))
    with pytest.raises(VerificationError, match="more than any"):
        read(tmp_path / "app.tar")


def test_the_empty_initramfs_is_gzips_own() -> None:
    assert run("gzip", "-n", stdin=b"").stdout == EMPTY
    assert run("gzip", "-dc", stdin=EMPTY).stdout == b""


@pytest.mark.parametrize("program", [("tar", "-xf"), ("bsdtar", "-xf"), ("cpio", "-i", "-d", "-H", "ustar", "-F")])
def test_other_programs_unpack_it(tar: Path, tmp_path: Path, program: tuple[str, ...]) -> None:
    place = tmp_path / "vm-kernels"
    place.mkdir()
    run(*program, tar, cwd=place, timeout=60)
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*")) == [
        "app",
        "app/initramfs",
        "app/vmlinuz",
    ]
    assert (place / "app" / "vmlinuz").read_bytes() == APP.kernel
    assert (place / "app" / "initramfs").read_bytes() == EMPTY


@pytest.mark.parametrize("program", ["tar", "bsdtar"])
def test_all_in_it_is_roots_and_of_one_time(tar: Path, program: str) -> None:
    lines = run(program, "-tvf", tar, timeout=60, env={"TZ": "UTC", "LC_ALL": "C"}).stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["drwxr-xr-x", "-rw-r--r--", "-rw-r--r--"]
    assert all("root" in line and "2000" in line for line in lines)


def test_it_is_read_again(tar: Path, tmp_path: Path) -> None:
    assert read(tar) == APP
    assert form_of(tar) is Form.VM_KERNEL
    with (tmp_path / "out").open("xb") as file:
        take_out(tar, Form.VM_KERNEL, file.fileno())
    assert (tmp_path / "out").read_bytes() == APP.kernel


def test_one_that_others_wrote_is_read(tmp_path: Path) -> None:
    place = tmp_path / "fw"
    place.mkdir()
    (place / "vmlinuz").write_bytes(b"kernel")
    run("tar", "-cf", tmp_path / "fw.tar", "-C", tmp_path, "fw", timeout=60)
    assert form_of(tmp_path / "fw.tar") is Form.VM_KERNEL
    assert read(tmp_path / "fw.tar") == Folder("fw", b"kernel", b"")


@pytest.mark.parametrize(
    "members,words",
    [
        ((), "holds no vmlinuz"),
        ((FOLDER,), "holds no vmlinuz"),
        ((FOLDER, NOTHING), "holds no vmlinuz"),
        ((FOLDER, KERNEL, KERNEL), "belongs in no kernel's folder"),
        ((FOLDER, KERNEL, member("app/../../etc/shadow", b"x")), "belongs in no kernel's folder"),
        ((FOLDER, KERNEL, member("/etc/shadow", b"x")), "belongs in no kernel's folder"),
        ((FOLDER, KERNEL, member("other/vmlinuz", b"x")), "belongs in no kernel's folder"),
        ((FOLDER, KERNEL, member("app/modules.img", b"x")), "belongs in no kernel's folder"),
        ((FOLDER, KERNEL, member("app/deep", kind=tarfile.DIRTYPE)), "belongs in no kernel's folder"),
        (
            (FOLDER, member("app/vmlinuz", kind=tarfile.SYMTYPE, link="/etc/shadow")),
            "belongs in no kernel's folder",
        ),
        (
            (FOLDER, member("app/vmlinuz", kind=tarfile.LNKTYPE, link="/etc/shadow")),
            "belongs in no kernel's folder",
        ),
        ((FOLDER, member("app/vmlinuz", kind=tarfile.CHRTYPE)), "belongs in no kernel's folder"),
        ((FOLDER, member("app/vmlinuz", kind=tarfile.FIFOTYPE)), "belongs in no kernel's folder"),
        ((member("..", kind=tarfile.DIRTYPE), member("../vmlinuz", b"x")), "belongs in no kernel's folder"),
        ((member(".", kind=tarfile.DIRTYPE), member("./vmlinuz", b"x")), "belongs in no kernel's folder"),
        ((member("vmlinuz", b"x"),), "belongs in no kernel's folder"),
        ((FOLDER,) * 9, "more in it than the folder"),
        ((member("a\nb", kind=tarfile.DIRTYPE), member("a\nb/vmlinuz", b"x")), "belongs in no kernel's folder"),
        ((KERNEL, FOLDER, member("-rf", kind=tarfile.DIRTYPE)), "belongs in no kernel's folder"),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else None,
)
def test_what_dom0_had_better_not_unpack(tmp_path: Path, members: tuple[Member, ...], words: str) -> None:
    with pytest.raises(VerificationError, match=words):
        read(written(tmp_path / "app.tar", *members))


def swap(tar: bytes) -> bytes:
    """Put a member behind the end, where a reader that goes on after zeros finds it."""
    return tar.rstrip(b"\0").ljust(20480, b"\0") + tar[:512]


@pytest.mark.parametrize(
    "change,words",
    [
        (swap, "something after the tar's end, at byte 20480"),
        (lambda data: data[:512], "damaged tar: it is cut, 512 bytes from its start"),
        (lambda data: data[:1000], "damaged tar: it is cut, 1000 bytes from its start"),
        (lambda data: data[:1024], "damaged tar: unexpected end of data"),
        (lambda data: data[:3000], "damaged tar: unexpected end of data"),
        (lambda data: data[:8192], "damaged tar: it is cut, 8192 bytes"),
        (lambda data: data[:0], "damaged tar: empty file"),
        (lambda data: data[:2048].translate(bytes(256)[:1] * 0 + bytes(range(1, 256)) + b"x"), "damaged tar: "),
        (lambda data: data[:124] + b"\xff" * 12 + data[136:], "damaged tar: "),
        (lambda data: data[:1536] + b"b" + data[1537:], "the header at byte 1536 has a wrong checksum"),
    ],
    ids=[
        "goes on",
        "cut after the folder",
        "cut in a header",
        "cut in the initramfs",
        "cut in the kernel",
        "no end",
        "empty",
        "no tar",
        "a size below zero",
        "a damaged header",
    ],
)
def test_a_damaged_one(tar: Path, change: Callable[[bytes], bytes], words: str) -> None:
    tar.write_bytes(change(tar.read_bytes()))
    with pytest.raises(VerificationError, match=words):
        read(tar)


def test_a_sparse_member_is_not_grown(tmp_path: Path) -> None:
    """GNU tar's sparse files claim any size; this one claims more than there is memory."""
    (tmp_path / "app").mkdir()
    with (tmp_path / "app" / "vmlinuz").open("wb") as file:
        file.truncate(1 << 40)
    run("tar", "--sparse", "--format=gnu", "-cf", tmp_path / "a.tar", "-C", tmp_path, "app", timeout=60)
    run("tar", "--sparse", "--format=posix", "-cf", tmp_path / "b.tar", "-C", tmp_path, "app", timeout=60)
    for name in ("a.tar", "b.tar"):
        with pytest.raises(VerificationError):
            read(tmp_path / name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 8191), st.integers(0, 255)), min_size=1, max_size=8))
def test_mutations_give_our_error_or_a_folder(tar: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(packed(APP, EPOCH))
    for place, value in changes:
        data[place] = value
    tar.write_bytes(data)
    is_one(bytes(data))
    try:
        assert read(tar).kernel
    except VerificationError as error:
        str(error).encode()


@pytest.mark.parametrize("size,known", [(0, False), (511, False), (512, True), (1023, True), (1024, True)])
def test_a_short_head(size: int, known: bool) -> None:
    assert is_one(packed(APP, EPOCH)[:size]) is known


@pytest.mark.parametrize("place", [0, 110, 124, 150, 156, 258])
@pytest.mark.parametrize("header", [0, 512])
def test_a_damaged_header_is_known_for_one(tar: Path, header: int, place: int) -> None:
    data = bytearray(tar.read_bytes())
    data[header + place] ^= 1
    tar.write_bytes(data)
    assert form_of(tar) is Form.VM_KERNEL
    with pytest.raises(VerificationError, match=r"app\.tar is a damaged tar: .*(checksum|header)"):
        read(tar)


def test_other_tars_are_none(tmp_path: Path) -> None:
    """A system's tar, an empty folder, a folder of other files."""
    (tmp_path / "app" / "bin").mkdir(parents=True)
    for name, what in (("a.tar", "app"), ("b.tar", "app/bin"), ("c.tar", ".")):
        run("tar", "-cf", tmp_path / "out", "-C", tmp_path, what, timeout=60)
        (tmp_path / "out").rename(tmp_path / name)
        assert form_of(tmp_path / name) is Form.RAW
