"""A tree in two parts, where /boot has a partition of its own; a root tar as a stream; keys at odds."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.artifact import Artifact
from imagekit.command import run
from imagekit.errors import BuildError, RecipeError, UnsuitedError
from imagekit.executor import SourceInput
from imagekit.filesystem import Part
from imagekit.filesystem.stream import write_stream
from imagekit.root import write_root
from imagekit.verify import verify
from tests.filesystem.conftest import EPOCH, Image, entry

Make = Callable[..., list[Artifact]]
Pack = Callable[..., Path]
PARTS: tuple[Part, ...] = ("boot", "root")


def rooted(tmp_path: Path, *trees: Path) -> tuple[Path, dict[str, SourceInput]]:
    """Return the root tar of these trees, and what it refers to."""
    files = {f"files-{number}": SourceInput(tree) for number, tree in enumerate(trees)}
    options = {"trees": [{"input": name, "to": "/"} for name in files], "files": {}, "epoch": EPOCH}
    write_root(files, tmp_path / "root", options)
    return tmp_path / "root", files


def streamed(root: Path, files: dict[str, SourceInput], part: Part) -> tarfile.TarFile:
    out = io.BytesIO()
    write_stream(root, files, part, EPOCH, out)
    out.seek(0)
    return tarfile.open(fileobj=out)


def stream_both(root: Path, files: dict[str, SourceInput]) -> None:
    for part in PARTS:
        streamed(root, files, part).close()


def content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_a_stream_stands_alone(tmp_path: Path, pack: Pack) -> None:
    folder = tmp_path / "folder"
    (folder / "srv").mkdir(parents=True)
    (folder / "srv" / "page").write_text("from a folder")
    tar = pack(
        (entry("etc/odd", mode=0o4640, uid=7, gid=8, mtime=5, pax_headers={"SCHILY.xattr.user.a": "b"}), b"odd"),
        (entry("etc/twin", tarfile.LNKTYPE, linkname="etc/odd"), b""),
        (entry("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
    )
    found = streamed(*rooted(tmp_path, tar, folder), "whole")
    assert content(found, "srv/page") == b"from a folder"
    odd, null, top = (found.getmember(name) for name in ("etc/odd", "dev/null", "."))
    assert (odd.mode, odd.uid, odd.gid, odd.mtime) == (0o4640, 7, 8, 5)
    assert odd.pax_headers["SCHILY.xattr.user.a"] == "b"
    assert found.getmember("etc/twin").linkname == "etc/odd"
    assert found.getnames()[-4:] == ["dev", "etc", "srv", "."]  # once more, when nothing changes their times
    assert (null.devmajor, null.devminor) == (1, 3)
    assert (top.mode, top.mtime) == (0o755, EPOCH)


def test_a_tree_is_parted(tmp_path: Path, pack: Pack) -> None:
    tar = pack(
        (entry("boot/vmlinuz"), b"kernel"),
        (entry("boot/same", tarfile.LNKTYPE, linkname="boot/vmlinuz"), b""),
        (entry("etc/passwd"), b"root"),
    )
    root, files = rooted(tmp_path, tar)
    boot = streamed(root, files, "boot")
    assert set(boot.getnames()) == {".", "boot", "vmlinuz", "same"}
    assert (boot.getmember("boot").issym(), boot.getmember("boot").linkname) == (True, ".")
    assert boot.getmember("vmlinuz").linkname == "same"
    assert content(boot, "same") == b"kernel"
    assert set(streamed(root, files, "root").getnames()) == {".", "boot", "etc", "etc/passwd"}


@pytest.mark.parametrize(
    "members, words",
    [
        ([("boot/a", tarfile.REGTYPE, ""), ("b", tarfile.LNKTYPE, "boot/a")], "/boot/a is a hard link to /b"),
        ([("a", tarfile.REGTYPE, ""), ("boot/b", tarfile.LNKTYPE, "a")], "/boot/b is a hard link to /a"),
        ([("boot", tarfile.SYMTYPE, "usr/boot")], "/boot is a link in this tree"),
        ([("boot/boot", tarfile.SYMTYPE, ".")], "a /boot/boot of its own"),
        ([("boot/boot", tarfile.REGTYPE, "")], "/boot/boot is a file in this tree"),
    ],
)
def test_what_ties_two_parts(
    members: list[tuple[str, bytes, str]], words: str, tmp_path: Path, pack: Pack
) -> None:
    root, files = rooted(tmp_path, pack(*((entry(name, kind, linkname=to), b"") for name, kind, to in members)))
    with pytest.raises(RecipeError, match=words):
        stream_both(root, files)


@pytest.mark.parametrize("layout", ["mbr", "gpt"])
def test_a_boot_partition(layout: str, make: Make, kernels: Path, tmp_path: Path) -> None:
    settings = {"disk.layout": layout, "disk.boot": "8MiB", "filesystem.type": "ext4", "filesystem.label": "root"}
    first, second = (
        make(kernels / "hello.xen", settings=settings, out=f"{tmp_path}/{name}/", target="ebs")[0] for name in "ab"
    )
    assert first.digest == second.digest
    checks = list(verify(first.path))
    assert {check.verdict for check in checks} == {"ok"}
    assert [check.seen.rpartition(" ")[2] for check in checks if check.name == "identity"] == ["boot", "root"]
    boot = Image(first.path.with_name(f"{first.path.name}?offset={1 << 20}"))
    assert boot.stat("/boot/grub/menu.lst").text == boot.stat("/grub/menu.lst").text
    taken = run("pygrub", "-q", "--output-format=simple", f"--output-directory={first.path.parent}", first.path)
    assert b"kernel " in taken.stdout


def test_a_boot_partition_that_is_too_small(make: Make, kernels: Path, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(3 << 20))
    settings = {
        "disk.layout": "mbr",
        "disk.boot": "2MiB",
        "root.files": [{"from": str(tmp_path / "large"), "to": "/boot/"}],
    }
    with pytest.raises(BuildError, match="/boot needs a partition of 4 MiB") as caught:
        make(kernels / "hello.xen", settings=settings)
    assert caught.value.hint == 'disk.boot = "4MiB", or more'


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"disk.boot": "8MiB", "disk.layout": "plain"}, "a plain disk has none"),
        ({"disk.boot": "8MiB", "disk.layout": "mbr", "root.kernel": "/srv/k"}, "/srv/k is not in /boot"),
        ({"disk.boot": "1KiB", "disk.layout": "mbr"}, "a boot partition is of whole MiB"),
        ({"disk.lvm.group": "-a"}, "a volume's name"),
        ({"disk.lvm.group": "vg", "filesystem.size": "8MiB"}, "a volume takes the whole group"),
        ({"disk.lvm.group": "vg", "filesystem.type": "fat16"}, "no FAT is put on LVM"),
        ({"filesystem.type": "xfs", "filesystem.label": "thirteen-char"}, "xfs takes no label"),
        ({"filesystem.type": "jfs", "filesystem.block_size": 1024}, "jfs has blocks of 4096 bytes"),
        ({"filesystem.type": "fat16", "filesystem.maker": "guestfs"}, "guestfs makes no FAT"),
    ],
)
def test_keys_that_do_not_go_together(settings: dict[str, object], words: str, make: Make, kernels: Path) -> None:
    with pytest.raises(RecipeError, match=words):
        make(kernels / "hello.xen", settings=settings)


@pytest.mark.parametrize(
    "target, settings, words",
    [
        ("xen", {"filesystem.type": "xfs"}, "pygrub reads no xfs"),
        ("xen", {"disk.lvm.group": "vg"}, "pygrub reads no LVM"),
        ("xcp", {"filesystem.type": "jfs"}, "pygrub reads no jfs"),
        ("openstack", {"filesystem.type": "btrfs"}, "pygrub reads no btrfs"),
        ("rackspace", {"filesystem.type": "xfs"}, "pygrub reads no xfs"),
        ("ebs", {"filesystem.type": "xfs"}, "Amazon's PV-GRUB reads no xfs"),
        ("ebs", {"disk.lvm.group": "vg", "disk.layout": "gpt"}, "Amazon's PV-GRUB reads no LVM"),
    ],
)
def test_what_no_loader_reads_is_refused_first(
    target: str, settings: dict[str, object], words: str, make: Make, kernels: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnsuitedError, match=words) as caught:
        make(kernels / "hello.xen", target=target, settings=settings)
    assert "disk.boot" in caught.value.hint
    assert not list((tmp_path / "cache").rglob("blobs/*.map"))[1:]  # the kernel's facts alone
