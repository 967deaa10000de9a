"""Damaged and hostile tars: a refusal or a tree, never anything else, and never a part of a tree."""

import bz2
import errno
import gzip
import lzma
import resource
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import ImagekitError, RecipeError
from tests.root.conftest import Compose, contents, entry, tar_bytes

TAR = tar_bytes(
    entry("d/", tarfile.DIRTYPE, mode=0o1777),
    (entry("d/file", uid=70000, pax_headers={"SCHILY.xattr.user.a": "b"}), b"x" * 1500),
    entry("twin", tarfile.LNKTYPE, linkname="d/file"),
    (entry("long/" * 30 + "name"), b"long"),
    entry("c", tarfile.CHRTYPE, devmajor=4, devminor=64),
    entry("s", tarfile.SYMTYPE, linkname="d/file"),
)
GNU = tar_bytes(
    (entry("long/" * 30 + "name", uid=2**30), b"long"),
    entry("s", tarfile.SYMTYPE, linkname="y" * 200),
    (entry("file"), b"x" * 1500),
    form=tarfile.GNU_FORMAT,
)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


HUGE = 8 << 20  # bytes: no test here needs a file near it, and a hostile tar can tell of an exabyte


@pytest.fixture(autouse=True)
def small_files() -> Iterator[None]:
    """Let no file grow large, whatever a tar tells of."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HUGE, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tried(data: bytes, path: Path, compose: Compose, form: str = "") -> bool:
    """Tell whether a tar is taken; it fails when it raises anything but an error of ours.

    Of the form "tar", its bytes are referred to.
    """
    path.write_bytes(data)
    try:
        root = compose(path, form=form)
        list(contents(root))
    except ImagekitError as error:
        assert isinstance(error, RecipeError), error  # noqa: PT017
        return False
    except OSError as error:
        assert error.errno == errno.EFBIG, error  # noqa: PT017
        return True
    shutil.rmtree(root.parent)
    return True


@pytest.mark.parametrize("tar", [TAR, GNU])
def test_a_tar_that_breaks_off_is_refused_wherever_that_is(tar: bytes, tmp_path: Path, compose: Compose) -> None:
    whole = tar.rstrip(b"\0")
    end = -(-len(whole) // 512) * 512
    assert tried(tar[: end + 512], tmp_path / "t.tar", compose)
    for length in [*range(0, end + 1, 512), *range(100, end, 307), end + 511]:
        assert not tried(tar[:length], tmp_path / "t.tar", compose), length


@pytest.mark.parametrize("packer", [packer for packer in PACKERS if packer])
def test_a_packed_tar_that_breaks_off_is_refused(packer: str, tmp_path: Path, compose: Compose) -> None:
    packed = PACKERS[packer](TAR)
    for length in range(0, len(packed) - 1, max(1, len(packed) // 40)):
        assert not tried(packed[:length], tmp_path / f"t.tar{packer}", compose), length


@pytest.mark.parametrize("packer", PACKERS)
def test_what_is_no_tar_inside(packer: str, tmp_path: Path, compose: Compose) -> None:
    assert not tried(PACKERS[packer](b"no tar at all" * 100), tmp_path / f"t.tar{packer}", compose)
    assert not tried(PACKERS[packer](b""), tmp_path / f"t.tar{packer}", compose)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path, compose: Compose) -> None:
    data = bytearray(tar_bytes((entry("a"), b"1"), (entry("b"), b"2"), form=tarfile.USTAR_FORMAT))
    data[1024 + 3] ^= 1
    (tmp_path / "t.tar").write_bytes(data)
    with pytest.raises(RecipeError, match="neither a member nor the end at byte 1024"):
        compose(tmp_path / "t.tar")


def test_a_member_of_negative_size(tmp_path: Path, compose: Compose) -> None:
    """tarfile of many Pythons reads such a tar for ever."""
    info = entry("a")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"  # -1024, in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert not tried(bytes(header) + bytes(1024), tmp_path / "t.tar", compose)
    assert not tried(
        tar_bytes((entry("x"), b"1"))[:1024] + bytes(header) + bytes(1024), tmp_path / "t.tar", compose
    )


@pytest.mark.parametrize("size", ["-1", "-512", "-99999", "9" * 30, "1e3", "nan"])
def test_a_pax_header_that_lies_about_the_size(size: str, tmp_path: Path, compose: Compose) -> None:
    data = tar_bytes((entry("a", pax_headers={"size": size, "comment": "x"}), b"12345"), (entry("b"), b"6"))
    assert not tried(data, tmp_path / "t.tar", compose)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_headers_upon_headers(kind: bytes, tmp_path: Path, compose: Compose) -> None:
    header = entry("h", kind, size=0).tobuf(tarfile.USTAR_FORMAT)
    assert not tried(header * 5000 + bytes(1024), tmp_path / "t.tar", compose)


@pytest.mark.parametrize(
    "records",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "-5"},
        {"GNU.sparse.map": "0,1,2"},
        {"GNU.sparse.map": "x,y"},
        {"GNU.sparse.size": "10"},
        {"GNU.sparse.map": "0,5,100,99999", "GNU.sparse.size": "200000"},
    ],
)
def test_sparse_files_that_lie(records: dict[str, str], tmp_path: Path, compose: Compose) -> None:
    tried(tar_bytes((entry("a", pax_headers=records), b"12345"), (entry("b"), b"6")), tmp_path / "t.tar", compose)


SPARSE = ("GNU.sparse.map", "GNU.sparse.major", "GNU.sparse.size", "GNU.sparse.realsize")


@pytest.mark.parametrize("size", [(1 << 30) + 6, 1 << 40, 1 << 60])
def test_an_exabyte_of_holes(size: int, tmp_path: Path, compose: Compose) -> None:
    records = {"GNU.sparse.map": "0,5", "GNU.sparse.size": str(size)}
    (tmp_path / "t.tar").write_bytes(tar_bytes((entry("a", pax_headers=records), b"12345")))
    with pytest.raises(RecipeError, match="more than 1 GiB of holes"):
        compose(tmp_path / "t.tar")


def test_many_holes_add_up(tmp_path: Path, compose: Compose) -> None:
    infos = [
        entry(str(number), pax_headers={"GNU.sparse.map": "0,5", "GNU.sparse.size": str(1 << 29)})
        for number in (1, 2, 3)
    ]
    (tmp_path / "t.tar").write_bytes(tar_bytes(*((info, b"12345") for info in infos)))
    with pytest.raises(RecipeError, match="'3' is a sparse file"):
        compose(tmp_path / "t.tar")


EDITS = st.lists(
    st.tuples(st.integers(0, len(TAR) - 5000), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4
)


def resummed(data: bytearray) -> bytes:
    """Make the checksums right again, so that the damage gets past them."""
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


@settings(max_examples=150)
@given(
    base=st.sampled_from([TAR, GNU]),
    edits=EDITS,
    resum=st.booleans(),
    packer=st.sampled_from(["", "", "", *PACKERS]),
    form=st.sampled_from(["", "tar"]),
)
def test_any_damage(
    base: bytes,
    edits: list[tuple[int, bytes]],
    resum: bool,
    packer: str,
    form: str,
    tmp_path_factory: pytest.TempPathFactory,
    compose: Compose,
) -> None:
    folder = tmp_path_factory.getbasetemp()
    data = bytearray(base)
    if packer:
        data = bytearray(PACKERS[packer](base))
    for place, new in edits:
        at = place % len(data)
        data[at : at + len(new)] = new
    tried(resummed(data) if resum and not packer else bytes(data), folder / f"t.tar{packer}", compose, form)


@settings(max_examples=100)
@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "name": st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
            "linkname": st.text(st.sampled_from("./ab\0"), max_size=10),
            "mode": st.integers(0, 0o7777777),
            "uid": st.integers(0, 2**63),
            "mtime": st.floats() | st.integers(-(2**70), 2**70),
            "devmajor": st.integers(0, 0o7777777),
            "type": st.sampled_from([bytes([kind]) for kind in b"01234567AaDKLMNSVXgx\0 "]),
        },
    ),
    records=st.dictionaries(
        st.sampled_from(
            ["path", "linkpath", "size", "uid", "gid", "mtime", *SPARSE, "hdrcharset", "SCHILY.xattr.user.x"]
        ),
        st.text(max_size=8) | st.integers(-(2**65), 2**65).map(str),
        max_size=3,
    ),
)
def test_any_member(
    fields: dict[str, object], records: dict[str, str], tmp_path_factory: pytest.TempPathFactory, compose: Compose
) -> None:
    name = fields.pop("name", "a")
    kind = fields.pop("type", b"0")
    try:
        data = tar_bytes(
            (entry(str(name), kind, pax_headers=records, **fields), b"12345"),  # type: ignore[arg-type]
            (entry("b"), b"6"),
        )
    except (ValueError, OverflowError, ArithmeticError):
        return
    for form in ("", "tar"):
        tried(data, tmp_path_factory.getbasetemp() / "m.tar", compose, form)


@pytest.mark.parametrize("form", ["", "tar"])
def test_more_declared_than_there_is(form: str, tmp_path: Path, compose: Compose) -> None:
    info = entry("a")
    info.size = 10 << 30
    data = info.tobuf(tarfile.PAX_FORMAT) + bytes(4096)
    assert not tried(data, tmp_path / "t.tar", compose, form)
    assert not any(path.stat().st_size > HUGE for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("form", ["", "tar"])
@pytest.mark.parametrize("tar", [TAR, GNU])
def test_what_is_referred_to_breaks_off(tar: bytes, form: str, tmp_path: Path, compose: Compose) -> None:
    whole = tar.rstrip(b"\0")
    for length in range(0, len(whole) - 512, 512):
        assert not tried(tar[:length], tmp_path / "t.tar", compose, form), length
