"""What is put into ext2, ext3 and ext4 is what e2fsprogs reads there."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import BuildError, RecipeError, ToolError
from imagekit.filesystem import Place, Settings, filesystem_uuid, make, stage
from imagekit.root.tree import first_entry
from tests.filesystem.conftest import Fill, entry

Contents = Callable[[Path], dict[str, object]]
EXT = ("ext2", "ext3", "ext4")
DATA = bytes(range(256)) * 300


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for path, data in {
        "empty": b"",
        "one": b"1",
        "block": bytes(1024),
        "large": DATA,
        "deep/er/and/deeper/file": b"below",
        "name with  spaces": b"a",
        'quo"ted': b"b",
        "apo'strophe": b"c",
        "back\\slash": b"d",
        "-leading-dash": b"e",
        "<2>": b"no inode number",
        "gr\u00fc\u00dfe \U0001f40d": b"f",
        "x" * 255: b"g",
        " ": b"h",
        "$HOME;`id`": b"i",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "not utf-8 \udcff").write_bytes(b"j")
    (folder / "hollow").mkdir()
    (folder / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "short").symlink_to("one")
    (folder / "long").symlink_to("x/" * 200)
    (folder / "dangling").symlink_to("/nowhere at all")
    return folder


@pytest.mark.parametrize("block_size", [0, 1024, 2048, 4096])
@pytest.mark.parametrize("kind", EXT)
def test_a_folder_is_read_back_byte_for_byte(
    kind: str, block_size: int, tree: Path, fill: Fill, content: Contents
) -> None:
    image = fill(tree, kind=kind, block_size=block_size, label="l.a-B_e")
    image.check(kind)
    assert content(image.dumped()) == content(tree)
    superblock = image.superblock()
    assert superblock["Filesystem volume name"] == "l.a-B_e"
    assert superblock["Block size"] == str(block_size or 1024)
    assert superblock["Inode size"] == "256"
    assert ("has_journal" in superblock["Filesystem features"]) == (kind != "ext2")
    assert "metadata_csum" not in superblock["Filesystem features"]
    assert superblock["Filesystem created"] == "Sat Jan  1 00:00:00 2000"


@pytest.mark.parametrize("kind", EXT)
def test_a_tar_is_read_back_with_owners_modes_times_links_and_attributes(
    kind: str, fill: Fill, pack: Callable[..., Path]
) -> None:
    xattrs = {
        "SCHILY.xattr.user.note": 'said "so"\nand so',
        "SCHILY.xattr.security.capability": b"\1\0\0\2\0\x20\0\0\xff\0\0\0".decode("utf-8", "surrogateescape"),
        "SCHILY.xattr.com.apple.quarantine": "a Mac's",
    }
    image = fill(
        pack(
            (entry("etc", tarfile.DIRTYPE, mode=0o1777, uid=70000, gid=3, mtime=1000), b""),
            (entry("etc/shadow", mode=0, uid=1, gid=42, mtime=12345), b"secret"),
            (entry("ping", mode=0o4755, uid=0, gid=0, mtime=2**33, pax_headers=xattrs), DATA),
            (entry("ping2", tarfile.LNKTYPE, linkname="./ping"), b""),
            (entry("etc/ping3", tarfile.LNKTYPE, linkname="ping2"), b""),
            (entry("tty", tarfile.CHRTYPE, mode=0o620, gid=5, devmajor=4, devminor=64), b""),
            (entry("nvme", tarfile.BLKTYPE, devmajor=259, devminor=300), b""),
            (entry("pipe", tarfile.FIFOTYPE, mode=0o600), b""),
            (entry("pipe2", tarfile.LNKTYPE, linkname="pipe"), b""),
            (entry("link", tarfile.SYMTYPE, linkname="x" * 59, uid=9, mtime=5), b""),
            (entry("longer", tarfile.SYMTYPE, linkname="y" * 60), b""),
            (entry("longest", tarfile.SYMTYPE, linkname="z" * 1023), b""),
            (entry("link2", tarfile.LNKTYPE, linkname="link"), b""),
            (entry("lost+found", tarfile.DIRTYPE, mode=0o700, gid=7), b""),
        ),
        kind=kind,
    )
    image.check(kind)
    etc, shadow, ping = image.stat("etc"), image.stat("etc/shadow"), image.stat("etc/ping3")
    assert (etc.kind, etc.mode, etc.uid, etc.gid, etc.mtime) == ("directory", 0o1777, 70000, 3, 1000)
    assert (shadow.mode, shadow.uid, shadow.gid, shadow.mtime) == (0, 1, 42, 12345)
    # No time is later than the epoch: that would depend on who builds when.
    assert (ping.mode, ping.links, ping.mtime) == (0o4755, 3, 946684800)
    assert image.debugfs("ea_get -V ping user.note") == 'said "so"\nand so\n'
    assert "security.capability (12)" in ping.text
    assert "apple" not in ping.text
    tty, nvme, pipe = image.stat("tty"), image.stat("nvme"), image.stat("pipe2")
    assert (tty.kind, tty.mode, tty.gid) == ("character special", 0o620, 5)
    assert "Device major/minor number: 04:64" in tty.text
    assert nvme.kind == "block special"
    assert "Device major/minor number: 259:300" in nvme.text
    assert (pipe.kind, pipe.mode, pipe.links) == ("FIFO", 0o600, 2)
    link = image.stat("link")
    assert (link.kind, link.uid, link.mtime, link.links) == ("symlink", 9, 5, 2)
    dumped = image.dumped()
    targets = [os.readlink(dumped / name) for name in ("link", "link2", "longer", "longest")]
    assert targets == ["x" * 59, "x" * 59, "y" * 60, "z" * 1023]
    assert (dumped / "etc" / "ping3").read_bytes() == DATA
    assert image.stat("lost+found").gid == 7


def test_owner_and_times_of_a_folder_are_not_the_builders(tree: Path, fill: Fill, content: Contents) -> None:
    for path in (tree / "one", tree / "hollow", tree / "short"):
        os.chown(path, 1234 if os.geteuid() == 0 else -1, -1, follow_symlinks=False)
        os.utime(path, (77, 77), follow_symlinks=False)
    (tree / "one").chmod(0o604)
    image = fill(tree)
    for name, mode in (("one", 0o644), ("hollow", 0o755), ("large", 0o644)):
        stat = image.stat(name)
        assert (stat.uid, stat.gid, stat.mode, stat.mtime) == (0, 0, mode, 946684800)
        assert "ctime: 0x386d4380:00000000" in stat.text
        assert "atime: 0x386d4380:00000000" in stat.text
    assert image.stat("run.sh").mode == 0o755
    assert image.stat("/").mode == 0o755
    assert content(image.dumped()) == content(tree)


def test_hard_links_in_a_folder_stay_one_file(tree: Path, fill: Fill, content: Contents) -> None:
    os.link(tree / "large", tree / "deep" / "twin")
    os.link(tree / "large", tree / 'a quoted " twin')
    image = fill(tree)
    image.check("ext2")
    assert image.stat("large").links == 3
    assert content(image.dumped()) == content(tree)


def test_three_thousand_files_by_reference(tmp_path: Path, fill: Fill, content: Contents) -> None:
    tree = tmp_path / "many"
    for number in range(3000):
        path = tree / f"{number % 7}" / f"{number % 13}" / f"file number {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * (number % 700))
    image = fill(tree)
    image.check("ext2")
    assert content(image.dumped()) == content(tree)


def test_one_folder_of_a_thousand_long_names(tmp_path: Path, fill: Fill, content: Contents) -> None:
    tree = tmp_path / "wide"
    tree.mkdir()
    for number in range(1000):
        (tree / f"{number:0200}").touch()
    image = fill(tree, kind="ext4")
    image.check("ext4")
    assert content(image.dumped()) == content(tree)


def test_a_sparse_file_stays_sparse(tmp_path: Path, fill: Fill) -> None:
    tree = tmp_path / "sparse"
    tree.mkdir()
    with (tree / "hole").open("wb") as file:
        file.truncate(100 << 20)
        file.seek(50 << 20)
        file.write(DATA)
    image = fill(tree)
    image.check("ext2")
    assert image.path.stat().st_blocks * 512 < 4 << 20
    assert (image.dumped() / "hole").read_bytes() == (tree / "hole").read_bytes()


def test_times_after_2038(tmp_path: Path, fill: Fill, pack: Callable[..., Path]) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_bytes(b"new")
    image = fill(tmp_path / "new", pack((entry("old", mtime=3), b"old")), epoch=2**32 - 5)
    image.check("ext2")
    assert image.stat("file").mtime == 2**32 - 5
    assert image.stat("old").mtime == 3
    for name in ("file", "old"):
        text = image.stat(name).text
        assert [f"{time}time: 0xfffffffb:00000001" in text for time in ("c", "a", "cr")] == [True] * 3


def test_equal_trees_give_equal_bytes_whoever_builds(tree: Path, tmp_path: Path, fill: Fill) -> None:
    one = fill(tree).path.read_bytes()
    mask = os.umask(0o077)
    try:
        run("cp", "-r", tree, tmp_path / "copy")
    finally:
        os.umask(mask)
    for path in (tree, *tree.rglob("*")):
        copy = tmp_path / "copy" / os.path.relpath(path, tree)
        if not copy.is_symlink() and copy.name != "run.sh":
            copy.chmod(0o2770 if copy.is_dir() else 0o660)
    mask = os.umask(0o027)
    try:
        assert fill(tmp_path / "copy").path.read_bytes() == one
    finally:
        os.umask(mask)


def test_files_that_nobody_may_read_are_written_without_privileges(
    tmp_path: Path, fill: Fill, pack: Callable[..., Path]
) -> None:
    image = fill(pack((entry("shut", tarfile.DIRTYPE, mode=0), b""), (entry("shut/file", mode=0o200), b"text")))
    image.check("ext2")
    assert (image.stat("shut").mode, image.stat("shut/file").mode) == (0, 0o200)
    staged = stage(image.path.with_name("root"), {}, tmp_path / "staged")
    assert (staged.folder / "shut").stat().st_mode & 0o777 == 0o700
    assert (staged.folder / "shut" / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["line\nbreak", "a/b\nc/d", "\n"])
def test_a_line_break_in_a_name_is_refused(name: str, tmp_path: Path, fill: Fill) -> None:
    (tmp_path / "tree" / name).parent.mkdir(parents=True)
    (tmp_path / "tree" / name).touch()
    with pytest.raises(RecipeError, match="line break"):
        fill(tmp_path / "tree")


NAMES = st.text(
    st.sampled_from("\"'\\ <>0123-$;#%*?[]~!\t\x7f\u00e9\U0001f40d\udcfeax."), min_size=1, max_size=12
).filter(lambda name: name not in {".", "..", "lost+found"})


@settings(max_examples=12)
@given(files=st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=8))
@example(files={'""': b"", '"': b"1", "\\": b"2", '\\"': b"3", "<1>": b"4", "-f": b"5", "\t": b"6", "~": b"7"})
def test_any_name_survives(
    files: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    fill: Fill,
    content: Contents,
) -> None:
    tree = tmp_path_factory.mktemp("tree")
    for name, data in files.items():
        (tree / name).write_bytes(data)
    image = fill(tree)
    image.check("ext2")
    assert content(image.dumped()) == files


@pytest.mark.parametrize("kind", ["file", "link"])
def test_lost_and_found_is_a_folder(kind: str, fill: Fill, pack: Callable[..., Path]) -> None:
    types = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE}
    with pytest.raises(RecipeError, match=r"lost\+found is a folder"):
        fill(pack((entry("lost+found", types[kind], linkname="x" if kind == "link" else ""), b"")))


def test_attributes_larger_than_a_block(fill: Fill, pack: Callable[..., Path]) -> None:
    value = MappingProxyType({"SCHILY.xattr.user.long": "v" * 2000})
    tar = pack((entry("file", pax_headers=dict(value)), b""))
    with pytest.raises(RecipeError, match="block_size = 4096"):
        fill(tar)
    assert fill(tar, block_size=4096).debugfs("ea_get -V file user.long") == "v" * 2000 + "\n"


def test_a_file_system_that_is_too_small_after_all(tmp_path: Path, pack: Callable[..., Path], tree: Path) -> None:
    (tree / "more").write_bytes(os.urandom(3 << 20))
    inside = pack((first_entry((), {}), b""), (entry("more"), os.urandom(3 << 20)))
    uuid = filesystem_uuid("0" * 64, "ext2", "")
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(2 << 20)
    place = Place(tmp_path / "disk", 0, 2 << 20)
    with pytest.raises(BuildError, match="does not fit into a file system of 2 MiB") as caught:
        make(place, Settings("ext2", uuid, 1, block_size=1024), stage(inside, {}, tmp_path / "staged"))
    assert "hint" in str(caught.value)


def test_a_tool_that_fails_otherwise_is_named(tmp_path: Path, pack: Callable[..., Path]) -> None:
    with pytest.raises(ToolError, match="mke2fs failed"):
        make(
            Place(tmp_path / "no such folder" / "disk", 0, 2 << 20),
            Settings("ext2", filesystem_uuid("0" * 64, "ext2", ""), 1, block_size=1024),
            stage(pack((first_entry((), {}), b""), (entry("x"), b"")), {}, tmp_path / "staged"),
        )
