"""Block maps against a plain reading of the same bytes, and copies that keep content and holes."""

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import UsageError
from imagekit.sparse import (
    BLOCK,
    BlockMap,
    allocated,
    copy,
    digest_file,
    digest_tree,
    extents,
    fingerprint,
    map_blocks,
    walk,
)

ALL_ZERO = bytes(BLOCK)

pieces = st.lists(
    st.tuples(
        st.sampled_from(["data", "zero", "hole"]),
        st.sampled_from([1, 511, 4096, 65536, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK // 2]),
        st.binary(min_size=1, max_size=3),
    ),
    max_size=7,
)
Pieces = list[tuple[str, int, bytes]]


def reference(data: bytes) -> str:
    """Return the digest as the definition says it, with nothing clever."""
    text = len(data).to_bytes(8, "big")
    for index, at in enumerate(range(0, len(data), BLOCK)):
        block = data[at : at + BLOCK]
        if block != bytes(len(block)):
            text += index.to_bytes(8, "big") + hashlib.sha256(block).digest()
    return hashlib.sha256(text).hexdigest()


def write(path: Path, parts: Pieces, *, holes: bool = True) -> bytes:
    """Write the pieces; a hole is skipped, or written as zeros. Return the content."""
    content = b""
    with path.open("wb") as file:
        for kind, length, pattern in parts:
            data = (pattern * length)[:length] if kind == "data" else bytes(length)
            if kind == "hole" and holes:
                file.seek(length, os.SEEK_CUR)
            else:
                file.write(data)
            content += data
        file.truncate(len(content))
    return content


@settings(max_examples=60)
@given(pieces)
def test_digest_is_that_of_the_definition(tmp_path: Path, parts: Pieces) -> None:
    path = tmp_path / "file"
    content = write(path, parts)
    assert digest_file(path) == reference(content)
    assert map_blocks(path).length == len(content)


@settings(max_examples=40)
@given(pieces)
def test_a_zero_block_is_a_hole(tmp_path: Path, parts: Pieces) -> None:
    sparse, dense = tmp_path / "sparse", tmp_path / "dense"
    write(sparse, parts)
    write(dense, parts, holes=False)
    assert map_blocks(sparse) == map_blocks(dense)


@settings(max_examples=40)
@given(pieces)
def test_a_copy_has_the_content_and_the_holes(tmp_path: Path, parts: Pieces) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    content = write(source, parts)
    with target.open("wb") as file:
        copy(source, file.fileno())
    assert target.read_bytes() == content
    assert allocated(target) <= allocated(source) + 4096


def test_a_copy_to_another_file_system(tmp_path: Path) -> None:
    source = tmp_path / "source"
    content = write(source, [("data", BLOCK, b"ab"), ("hole", 8 * BLOCK, b"x"), ("data", 5000, b"c")])
    with Path("/dev/shm").joinpath(f"imagekit-{os.getpid()}").open("w+b") as file:  # noqa: S108 -- another one
        os.unlink(file.name)
        copy(source, file.fileno())
        assert file.read() == content
        assert os.fstat(file.fileno()).st_blocks * 512 < 2 * BLOCK


ON_BTRFS = """
truncate -s 128M "$1/image" && mkfs.btrfs -q "$1/image" && mkdir "$1/mounted" || exit 77
mount -o loop "$1/image" "$1/mounted" || exit 77
"$2" -c '
import sys
from pathlib import Path
from imagekit.sparse import copy, map_blocks
folder = Path(sys.argv[1])
with (folder / "source").open("wb") as file:
    file.write(bytes(range(256)) * 4096)
    file.truncate(64 << 20)
with (folder / "target").open("wb") as file:
    copy(folder / "source", file.fileno())
assert map_blocks(folder / "target") == map_blocks(folder / "source")
' "$1/mounted" && sync "$1/mounted/target" && filefrag -v "$1/mounted/target"
"""


def test_a_copy_by_reflink(tmp_path: Path) -> None:
    argv = ["unshare", "--mount", "sh", "-c", ON_BTRFS, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"Btrfs cannot be mounted here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "shared" in done.stdout


def test_two_digests_of_known_files(tmp_path: Path) -> None:
    """Pinned: stores and ledgers outlive a version of imagekit."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert digest_file(path) == hashlib.sha256(bytes(8)).hexdigest()
    path.write_bytes(ALL_ZERO + b"imagekit")
    block = hashlib.sha256(b"imagekit").digest()
    assert map_blocks(path).to_bytes() == b"\0\0\0\0\0\x08\0\x08" + b"\0\0\0\0\0\0\0\x01" + block
    assert digest_file(path) == "093ff0f599e08a32e72d46aeace354dc9819a82f605e1287154d6684266506f9"


def test_a_large_hole_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"x")
    found = map_blocks(path)
    assert (found.length, [index for index, _ in found.blocks]) == (1 << 40, [1 << 20])
    with (tmp_path / "copy").open("wb") as file:
        copy(path, file.fileno())
    assert map_blocks(tmp_path / "copy") == found
    assert allocated(tmp_path / "copy") <= 1 << 20


def test_more_blocks_than_one_round(tmp_path: Path) -> None:
    path = tmp_path / "many"
    with path.open("wb") as file:
        for index in range(0, 140, 2):
            file.seek(index * BLOCK)
            file.write(b"%d" % index)
    assert [index for index, _ in map_blocks(path).blocks] == list(range(0, 140, 2))


def test_extents_of_a_file_that_ends_in_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, [("hole", BLOCK, b"x"), ("data", 4096, b"x"), ("hole", BLOCK, b"x")])
    with path.open("rb") as file:
        assert list(extents(file.fileno(), path.stat().st_size)) == [(BLOCK, BLOCK + 4096)]


def test_extents_of_what_cannot_seek() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(OSError, match="Illegal seek"):
            list(extents(reading, 1))
    finally:
        os.close(reading)
        os.close(writing)


def test_a_copy_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with path.open("rb") as read_only, pytest.raises(OSError, match="Bad file descriptor"):
        copy(path, read_only.fileno())


maps = st.builds(
    lambda length, indexes, block: BlockMap(
        length, tuple((index, block) for index in sorted(indexes) if index * BLOCK < length)
    ),
    st.integers(0, (1 << 63) - 1),
    st.sets(st.integers(0, 1 << 44), max_size=5),
    st.binary(min_size=32, max_size=32),
)


@given(maps)
def test_a_map_as_bytes_and_back(found: BlockMap) -> None:
    data = found.to_bytes()
    assert BlockMap.from_bytes(data) == found
    assert hashlib.sha256(data).hexdigest() == found.digest


@given(st.one_of(st.binary(max_size=100), st.binary(min_size=40, max_size=40).map(lambda data: bytes(8) + data)))
def test_hostile_maps(data: bytes) -> None:
    try:
        found = BlockMap.from_bytes(data)
    except ValueError:
        return
    assert found.to_bytes() == data


@pytest.mark.parametrize(
    "length, blocks",
    [
        (-1, ()),
        (1 << 63, ()),
        (BLOCK, ((1, bytes(32)),)),
        (BLOCK, ((-1, bytes(32)),)),
        (BLOCK, ((0, bytes(31)),)),
        (3 * BLOCK, ((1, bytes(32)), (1, bytes(32)))),
        (3 * BLOCK, ((2, bytes(32)), (1, bytes(32)))),
    ],
)
def test_maps_that_no_file_has(length: int, blocks: tuple[tuple[int, bytes], ...]) -> None:
    with pytest.raises(ValueError, match=r"block|length"):
        BlockMap(length, blocks)


def tree(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_text("content")
    (folder / "run").write_text("#!")
    (folder / "run").chmod(0o755)
    (folder / "link").symlink_to("sub/file")
    return folder


def test_a_tree_digest_is_of_content_alone(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "a"), tmp_path / "b"
    second.mkdir()
    (second / "link").symlink_to("sub/file")
    (second / "run").write_text("#!")
    (second / "run").chmod(0o700)
    (second / "sub").mkdir(mode=0o700)
    (second / "sub" / "file").write_text("content")
    (second / "sub" / "file").chmod(0o600)
    os.utime(second / "sub" / "file", (1, 1))
    assert digest_tree(first) == digest_tree(second)


@pytest.mark.parametrize("change", ["content", "name", "mode", "target", "kind", "more", "hard"])
def test_a_tree_digest_tells_a_change(tmp_path: Path, change: str) -> None:
    folder = tree(tmp_path / "tree")
    (folder / "twin").write_text("#!")
    (folder / "twin").chmod(0o755)
    before = digest_tree(folder)
    match change:
        case "content":
            (folder / "run").write_text("#?")
        case "name":
            (folder / "run").rename(folder / "ran")
        case "mode":
            (folder / "run").chmod(0o644)
        case "target":
            (folder / "link").unlink()
            (folder / "link").symlink_to("sub/elsewhere")
        case "kind":
            (folder / "link").unlink()
            (folder / "link").write_text("sub/file")
        case "more":
            (folder / "empty").mkdir()
        case "hard":  # one file by two names is not two equal files
            (folder / "twin").unlink()
            os.link(folder / "run", folder / "twin")
    assert digest_tree(folder) != before


def test_a_hard_link_from_outside_is_a_file(tmp_path: Path) -> None:
    folder = tree(tmp_path / "tree")
    before = digest_tree(folder)
    os.link(folder / "run", tmp_path / "outside")
    assert digest_tree(folder) == before


def test_walk_goes_by_the_bytes_of_names(tmp_path: Path) -> None:
    for name in (b"b", b"a", b"\xff", "é".encode()):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    assert [os.fsencode(os.path.basename(entry.path)) for entry in walk(tmp_path)] == [
        b"a",
        b"b",
        b"\xc3\xa9",
        b"\xff",
    ]


def test_walk_refuses_what_a_folder_cannot_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(UsageError, match="neither a file") as caught:
            list(walk(tmp_path))
    assert "in a tar" in caught.value.hint


@pytest.mark.parametrize("change", ["touch", "write", "new", "replace"])
def test_a_fingerprint_tells_a_change(tmp_path: Path, change: str) -> None:
    folder = tree(tmp_path / "tree")
    file = folder / "sub" / "file"
    before = fingerprint(folder), fingerprint(file)
    assert (fingerprint(folder), fingerprint(file)) == before
    match change:
        case "touch":
            os.utime(file)
        case "write":
            status = file.stat()
            file.write_text("CONTENT")
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # only the ctime tells
        case "new":
            (folder / "sub" / "new").touch()
        case "replace":
            (folder / "new").write_text("content")
            (folder / "new").replace(file)
    assert fingerprint(folder) != before[0]
    assert (fingerprint(file) != before[1]) == (change != "new")
