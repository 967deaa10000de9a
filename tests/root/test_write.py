"""The root tar: what comes from folders, tars and files, what replaces what, and what is refused."""

import bz2
import gzip
import lzma
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from imagekit.command import run
from imagekit.errors import BuildError, ImagekitError, RecipeError, TryAgainError, UsageError
from imagekit.executor import SourceInput
from imagekit.root import Member, read_root, write_root
from imagekit.root.tree import Reference
from tests.root.conftest import EPOCH, Compose, contents, entry, members, tar_bytes

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "tree.tar": lambda data: data,
    "tree.tar.gz": gzip.compress,
    "tree.tgz": gzip.compress,
    "tree.tar.bz2": bz2.compress,
    "tree.tar.xz": lzma.compress,
    "tree.txz": lzma.compress,
    "tree.tar.zst": zstandard.compress,
    "wrong-name.tar": lzma.compress,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "run").write_bytes(b"#!/bin/sh\n")
    (folder / "bin" / "run").chmod(0o4711)
    (folder / "notes").write_bytes(b"text")
    (folder / "notes").chmod(0o606)
    os.link(folder / "notes", folder / "bin" / "notes too")
    (folder / "link").symlink_to("/absolute/../target")
    (folder / "empty").mkdir(mode=0o700)
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (1000, 1000), follow_symlinks=False)
    os.utime(folder / "link", (EPOCH + 5, EPOCH + 5), follow_symlinks=False)
    return folder


def test_a_folder_is_kept_by_reference(tree: Path, compose: Compose) -> None:
    root = compose((tree, "/srv/www/"))
    assert members(root) == {
        path: member
        for member in (
            Member("srv", "dir", 0o755, EPOCH),
            Member("srv/www", "dir", 0o755, EPOCH),
            Member("srv/www/bin", "dir", 0o755, EPOCH),
            Member(
                "srv/www/bin/notes too",
                "file",
                0o644,
                EPOCH,
                size=4,
                reference=Reference("files-0", "bin/notes too"),
            ),
            Member("srv/www/bin/run", "file", 0o755, EPOCH, size=10, reference=Reference("files-0", "bin/run")),
            Member("srv/www/empty", "dir", 0o755, EPOCH),
            Member("srv/www/link", "link", 0o777, EPOCH, target="/absolute/../target"),
            Member("srv/www/notes", "hard", 0o644, EPOCH, target="srv/www/bin/notes too"),
        )
        for path in [member.path]
    }
    assert contents(root) == {}
    assert root.stat().st_size < 20_000


def test_a_single_file(tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "motd").write_bytes(b"hello")
    (tmp_path / "tool").write_bytes(b"#!/bin/sh")
    (tmp_path / "tool").chmod(0o700)
    os.utime(tmp_path / "motd", (5, 5))
    root = compose((tmp_path / "motd", "/etc/"), (tmp_path / "motd", "/etc//other"), (tmp_path / "tool", "/"))
    assert contents(root) == {"etc/motd": b"hello", "etc/other": b"hello", "tool": b"#!/bin/sh"}
    found = members(root)
    assert found["etc/motd"] == Member("etc/motd", "file", 0o644, EPOCH, size=5)
    assert found["tool"].mode == 0o755
    with pytest.raises(RecipeError, match="names no file in the image"):
        compose((tmp_path / "motd", "/."))


@pytest.mark.parametrize("name", PACKED)
def test_a_tar_packed_or_not(name: str, tmp_path: Path, compose: Compose) -> None:
    xattrs = {"SCHILY.xattr.user.a": "b=\n\udcff", "SCHILY.xattr.com.apple.x": "no", "SCHILY.acl.access": "no"}
    data = tar_bytes(
        entry("./", tarfile.DIRTYPE, mode=0o700),
        (entry("./a/file", uid=70000, gid=2**32 - 2, mode=0o6640, mtime=7, pax_headers=xattrs), b"x" * 5000),
        entry("/a/twin", tarfile.LNKTYPE, linkname="./a/file", mode=0o6640),
        entry("a/again", tarfile.LNKTYPE, linkname="a/twin"),
        entry("c", tarfile.CHRTYPE, devmajor=4, devminor=65535, mode=0o666),
        entry("b", tarfile.BLKTYPE, devmajor=4095, devminor=1),
        entry("p", tarfile.FIFOTYPE),
        entry("s", tarfile.SYMTYPE, linkname="../../outside", uid=3),
        entry("d/", tarfile.DIRTYPE, mode=0o1777, mtime=2**40),
    )
    (tmp_path / name).write_bytes(PACKED[name](data))
    root = compose((tmp_path / name, "/x"))
    assert contents(root) == {"x/a/again": b"x" * 5000}
    found = members(root)
    assert found["x/a/again"] == Member(
        "x/a/again", "file", 0o6640, 7, 70000, 2**32 - 2, 5000, xattrs={"user.a": b"b=\n\xff"}
    )
    assert (found["x/a/twin"].kind, found["x/a/twin"].target) == ("hard", "x/a/again")
    assert found["x/a/file"].target == "x/a/again"
    assert (found["x/c"].kind, found["x/c"].device) == ("char", (4, 65535))
    assert (found["x/b"].kind, found["x/b"].device) == ("block", (4095, 1))
    assert found["x/p"].kind == "fifo"
    assert (found["x/s"].target, found["x/s"].uid) == ("../../outside", 3)
    assert (found["x/d"].mode, found["x/d"].mtime) == (0o1777, EPOCH)
    assert not list(root.parent.glob("unpacked*"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar(form: int, tmp_path: Path, compose: Compose) -> None:
    name = "long/" * 40 + "name" if form != tarfile.USTAR_FORMAT else "a" * 90
    (tmp_path / "t.tar").write_bytes(tar_bytes((entry(name), b"1"), form=form))
    assert contents(compose(tmp_path / "t.tar")) == {name: b"1"}


def test_gnu_tar_s_own_archives(tree: Path, tmp_path: Path, compose: Compose) -> None:
    with (tree / "sparse").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(500_000)
        file.write(b"data")
    for option in ("--format=gnu", "--format=pax", "--format=ustar"):
        sparse = ["--sparse"] if option != "--format=ustar" else []
        run("tar", option, *sparse, "-C", tree, "-cf", tmp_path / "gnu.tar", ".")
        root = compose(tmp_path / "gnu.tar")
        assert contents(root)["sparse"] == (tree / "sparse").read_bytes()
        assert members(root)["link"].target == "/absolute/../target"
        assert {member.kind for member in members(root).values()} == {"dir", "file", "hard", "link"}


def test_later_trees_replace_earlier_ones(tmp_path: Path, tree: Path, compose: Compose) -> None:
    (tmp_path / "one.tar").write_bytes(
        tar_bytes((entry("notes", mode=0o600), b"one"), (entry("only"), b"1"), entry("link", tarfile.FIFOTYPE))
    )
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "only").write_bytes(b"two")
    root = compose(tree, tmp_path / "one.tar", tmp_path / "two")
    found = members(root)
    assert contents(root) == {"notes": b"one"}
    assert found["only"].reference == Reference("files-2", "only")
    assert found["link"].kind == "fifo"
    assert found["notes"].mode == 0o600
    assert found["bin/notes too"].reference == Reference("files-0", "bin/notes too")
    again = members(compose(tmp_path / "one.tar", tree))
    assert again["notes"].target == "bin/notes too"


def test_a_hard_link_keeps_the_file_that_it_named(tmp_path: Path, compose: Compose) -> None:
    """As if each tree were unpacked over the one before."""
    (tmp_path / "one.tar").write_bytes(
        tar_bytes(
            (entry("file", mode=0o640, uid=7), b"old"),
            entry("a", tarfile.LNKTYPE, linkname="file"),
            entry("b", tarfile.LNKTYPE, linkname="file"),
            entry("gone", tarfile.LNKTYPE, linkname="file"),
        )
    )
    (tmp_path / "two.tar").write_bytes(tar_bytes((entry("file"), b"new"), (entry("gone"), b"other")))
    root = compose(tmp_path / "one.tar", tmp_path / "two.tar")
    assert contents(root) == {"file": b"new", "gone": b"other", "a": b"old"}
    found = members(root)
    assert (found["a"].mode, found["a"].uid) == (0o640, 7)
    assert (found["b"].kind, found["b"].target) == ("hard", "a")


def test_a_member_that_comes_twice(tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "t.tar").write_bytes(
        tar_bytes(
            (entry("a"), b"1"),
            (entry("./a"), b"2"),
            entry("d", tarfile.DIRTYPE, mode=0o700),
            entry("d//", tarfile.DIRTYPE, mode=0o711),
        )
    )
    root = compose(tmp_path / "t.tar")
    assert contents(root) == {"a": b"2"}
    assert members(root)["d"].mode == 0o711


def test_kernel_and_boot_files(tree: Path, compose: Compose) -> None:
    root = compose(tree, kernel="/boot/app.xen", files={"/boot/grub/menu.lst": "default 0\n"})
    assert contents(root) == {"boot/app.xen": b"kernel", "boot/grub/menu.lst": b"default 0\n"}
    assert members(root)["boot/app.xen"] == Member("boot/app.xen", "file", 0o644, EPOCH, size=6)


@pytest.mark.parametrize("name", ["boot/app.xen", "boot/grub/menu.lst"])
def test_what_imagekit_writes_is_not_replaced(name: str, tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "t.tar").write_bytes(tar_bytes((entry(name), b"mine")))
    with pytest.raises(RecipeError, match=f"/{name} is where imagekit writes a file"):
        compose(tmp_path / "t.tar", kernel="/boot/app.xen", files={"/boot/grub/menu.lst": "x"})


def test_the_kernel_is_no_menu(compose: Compose) -> None:
    with pytest.raises(RecipeError, match="is where imagekit writes a file"):
        compose(kernel="/boot/grub/menu.lst", files={"/boot/grub/menu.lst": "x"})
    with pytest.raises(RecipeError, match="/boot/grub lies below /boot, which is no folder"):
        compose(kernel="/boot", files={"/boot/grub/menu.lst": "x"})


@pytest.mark.parametrize("name", ["boot/grub/grub.cfg", "extlinux.conf", "grub2/grub.cfg"])
def test_no_menu_is_read_in_place_of_ours(name: str, tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "t.tar").write_bytes(tar_bytes((entry(name), b"mine")))
    with pytest.raises(RecipeError, match="pygrub would read"):
        compose(tmp_path / "t.tar", files={"/boot/grub/menu.lst": "x"})
    if name != "boot/grub/grub.cfg":
        compose(tmp_path / "t.tar", files={"/boot/grub/menu.lst": "x", "/boot/grub/grub.cfg": "x"})


@pytest.mark.parametrize(
    "infos, complaint",
    [
        ([entry("../a")], "leads out of the image"),
        ([entry("a/../../b")], "leads out of the image"),
        ([entry("a/..")], "leads out of the image"),
        ([entry("l", tarfile.LNKTYPE, linkname="../../etc/passwd")], "leads out of the image"),
        ([entry("a", pax_headers={"path": "a\0b"})], "leads out of the image"),
        ([entry("x" * 256)], "more than 255 bytes"),
        ([entry("\u00e9" * 128)], "more than 255 bytes"),
        ([entry("x/" * 1501)], "longer than 3000 bytes"),
        ([entry("s", tarfile.SYMTYPE, linkname="")], "names nothing"),
        ([entry("s", tarfile.SYMTYPE, linkname="x" * 1024)], "more than 1023 bytes"),
        ([entry("s", tarfile.SYMTYPE, pax_headers={"linkpath": "a\0b"})], "names nothing"),
        ([entry("a", pax_headers={"uid": "-1"})], "owner of no system"),
        ([entry("a", uid=2**32 - 1)], "owner of no system"),
        ([entry("a", gid=2**40)], "owner of no system"),
        ([entry("c", tarfile.CHRTYPE, devmajor=4096)], "device number of no system"),
        ([entry("c", tarfile.CHRTYPE, devminor=65536)], "device number of no system"),
        ([entry("a", b"V")], "of a type that no image holds"),
        (
            [entry("s", tarfile.SYMTYPE, linkname="/etc"), entry("s/a")],
            "/s/a lies below /s, which is no folder\n.*link to /etc",
        ),
        ([entry("f"), entry("f/a/b")], "/f/a lies below /f, which is no folder"),
        ([entry("f"), entry("f", tarfile.DIRTYPE)], "/f would be a folder and something else"),
        ([entry("f", tarfile.DIRTYPE), entry("f")], "/f would be a folder and something else"),
        ([entry("l", tarfile.LNKTYPE, linkname="none")], "/l is a hard link to /none, which is no file"),
        ([entry("l", tarfile.LNKTYPE, linkname="l")], "/l is a hard link to /l, which is no file"),
        ([entry("d", tarfile.DIRTYPE), entry("l", tarfile.LNKTYPE, linkname="d")], "which is no file"),
        ([entry("a"), entry("a", tarfile.LNKTYPE, linkname="a")], "which is no file"),
        ([entry("a", pax_headers={"mtime": "nan"})], "no readable tar"),
        ([entry("a", pax_headers={"mtime": "inf"})], "no readable tar"),
    ],
)
def test_hostile_members(infos: list[tarfile.TarInfo], complaint: str, tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "t.tar").write_bytes(tar_bytes(*infos))
    with pytest.raises(RecipeError, match=complaint):
        compose(tmp_path / "t.tar")


def test_absolute_names_stay_in_the_image(tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "t.tar").write_bytes(tar_bytes((entry("//etc/./passwd"), b"1")))
    assert contents(compose((tmp_path / "t.tar", "/root"))) == {"root/etc/passwd": b"1"}


@pytest.mark.parametrize("kind", ["socket", "fifo"])
def test_a_folder_holds_no_sockets_and_pipes(
    kind: str, tmp_path: Path, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    if kind == "fifo":
        os.mkfifo("it")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("it")
    with pytest.raises(UsageError, match="neither a file, a folder nor a symbolic link") as caught:
        compose(tmp_path / "tree")
    assert "in a tar" in caught.value.hint


def test_a_link_in_a_folder_that_is_too_long(tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to("x/" * 600)
    with pytest.raises(RecipeError, match="more than 1023 bytes"):
        compose(tmp_path / "tree")


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"full")
    opened = Path.open

    def open_shrunk(path: Path, mode: str) -> object:
        os.truncate(path, 1)
        return opened(path, mode)

    monkeypatch.setattr(Path, "open", open_shrunk)
    options = {"trees": [{"input": "x", "to": "/a"}], "files": {}, "epoch": 1}
    with pytest.raises(TryAgainError, match="/a became shorter"):
        write_root({"x": SourceInput(tmp_path / "file")}, tmp_path / "root", options)


def test_a_full_disk_is_no_fault_of_the_tar(tmp_path: Path) -> None:
    (tmp_path / "t.tar.gz").write_bytes(gzip.compress(tar_bytes((entry("a"), bytes(100_000)))))
    (tmp_path / "unpacked-0").symlink_to("/dev/full")
    options = {"trees": [{"input": "x", "to": "/"}], "files": {}, "epoch": 1}
    with pytest.raises(OSError, match="No space left"):
        write_root({"x": SourceInput(tmp_path / "t.tar.gz")}, tmp_path / "root", options)


def test_equal_trees_give_equal_bytes(tree: Path, tmp_path: Path, compose: Compose) -> None:
    run("cp", "-r", "--preserve=links,mode", tree, tmp_path / "copy")
    for path in (tmp_path / "copy" / "empty", tmp_path / "copy" / "bin"):
        path.chmod(0o770)
    mask = os.umask(0o077)
    try:
        assert compose(tree, kernel="/k").read_bytes() == compose(tmp_path / "copy", kernel="/k").read_bytes()
    finally:
        os.umask(mask)
    (tmp_path / "copy" / "notes").write_bytes(b"Text")
    assert compose(tree, kernel="/k").read_bytes() != compose(tmp_path / "copy", kernel="/k").read_bytes()


def test_the_order_of_a_tar_does_not_show(tmp_path: Path, compose: Compose) -> None:
    items = [(entry("b/x"), b"1"), (entry("a"), b"2"), (entry("b-c"), b"3"), (entry("b", tarfile.DIRTYPE), b"")]
    (tmp_path / "one.tar").write_bytes(tar_bytes(*items))
    (tmp_path / "two.tar").write_bytes(tar_bytes(*reversed(items), form=tarfile.GNU_FORMAT))
    one = compose(tmp_path / "one.tar")
    assert one.read_bytes() == compose(tmp_path / "two.tar").read_bytes()
    assert list(members(one)) == ["a", "b", "b-c", "b/x"]


def test_gnu_tar_lists_it(tree: Path, tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "t.tar").write_bytes(
        tar_bytes(
            (entry("gr\u00fc\u00dfe \udcff", uid=70000), b"12345"),
            entry("c", tarfile.CHRTYPE, devmajor=4, devminor=64),
        )
    )
    root = compose(tree, tmp_path / "t.tar", kernel="/boot/app.xen")
    assert b"ustar\x0000" in root.read_bytes()[:2048]
    done = run("tar", "--warning=no-unknown-keyword", "--quoting-style=literal", "--numeric-owner", "-tvf", root)
    assert done.stderr == b""
    lines = [line.split(maxsplit=5) for line in done.stdout.splitlines()]
    listed = {line[5].split(b" link to ")[0].split(b" -> ")[0]: line for line in lines}
    assert listed["gr\u00fc\u00dfe \udcff".encode("utf-8", "surrogateescape")][:3] == [
        b"-rw-r--r--",
        b"70000/0",
        b"5",
    ]
    assert listed[b"c"][0] == b"crw-r--r--"
    assert listed[b"bin/"][0] == b"drwxr-xr-x"
    assert b"bin/run" not in listed
    assert listed[b"notes"][0].startswith(b"h")
    assert listed[b"boot/app.xen"][2:5] == [b"6", b"2000-01-01", b"00:00"]


def test_the_digest_of_a_folder_is_in_the_tar(tree: Path, compose: Compose) -> None:
    before = compose(tree).read_bytes()
    assert b"IMAGEKIT.digest.files-0=" in before
    (tree / "notes").write_bytes(b"TEXT")
    assert compose(tree).read_bytes() != before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no tar",
        tar_bytes(entry("a", b"V")),
        *(tar_bytes(entry("a"), records={"IMAGEKIT.references": text}) for text in ("x", "1", "[1]", '[["a"]]')),
    ],
)
def test_what_is_no_root_tar(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "root").write_bytes(data)
    with pytest.raises(BuildError, match="is no root tar"):
        list(read_root(tmp_path / "root"))


def test_errors_are_ours(tmp_path: Path, compose: Compose) -> None:
    (tmp_path / "t.tar").write_bytes(b"")
    with pytest.raises(ImagekitError, match="is no readable tar"):
        compose(tmp_path / "t.tar")


@pytest.mark.parametrize("order", [("a", "b", "c"), ("c", "a", "b"), ("b", "c", "a")])
def test_which_name_of_a_file_comes_first_in_a_tar_does_not_show(
    order: tuple[str, ...], tmp_path: Path, compose: Compose
) -> None:
    file, *links = order
    rest = (entry(name, tarfile.LNKTYPE, linkname=file) for name in links)
    (tmp_path / "x.tar").write_bytes(tar_bytes((entry(file), b"content"), *rest))
    root = compose(tmp_path / "x.tar")
    assert contents(root) == {"a": b"content"}
    assert [(found.path, found.kind, found.target) for found in list(members(root).values())] == [
        ("a", "file", ""),
        ("b", "hard", "a"),
        ("c", "hard", "a"),
    ]
