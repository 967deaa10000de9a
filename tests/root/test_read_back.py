"""What GNU tar packs, imagekit puts into an image, and debugfs takes out again: the same as GNU tar unpacks."""

import base64
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.sparse import allocated, digest_tree
from tests.cli.conftest import Cli, cli
from tests.root.conftest import entry, tar_bytes

__all__ = ["cli"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack with owners")


@pytest.fixture
def tree(tmp_path: Path, kernels: Path) -> Path:
    """A tree of all that is awkward in tars."""
    tree = tmp_path / "tree"
    deep = tree / "d" / ("long" * 40) / ("longer" * 30)
    deep.mkdir(parents=True)
    (tree / "boot").mkdir()
    shutil.copy(kernels / "hello.xen", tree / "boot" / "vmlinuz-6.1")
    (deep / "file").write_bytes(bytes(range(256)) * 99)
    (deep / "file").chmod(0o4711)
    os.chown(deep / "file", 70000, 1 << 24)
    (tree / "d" / os.fsdecode(b"gr\xfc\xdf")).write_bytes(b"latin")
    (tree / "d" / "\N{SNOWMAN} 'x'").write_bytes(b"snow")
    (tree / "d" / "link").symlink_to("/" + "t" * 200)
    (tree / "d" / "up").symlink_to("../../../../../../etc/shadow")
    (tree / "d" / "twin").hardlink_to(deep / "file")
    (tree / "d" / "empty").touch()
    with (tree / "d" / "sparse").open("wb") as file:
        file.truncate(3 << 20)
        os.pwrite(file.fileno(), b"in the middle", 1 << 20)
        os.pwrite(file.fileno(), b"at the end", (3 << 20) - 10)
    (tree / "d").chmod(0o1777)
    return tree


@pytest.mark.parametrize(
    "form",
    [
        ["--format=gnu"],
        ["--format=pax"],
        ["--format=gnu", "-S"],
        ["--format=pax", "-S"],
        ["--format=pax", "-S", "--sparse-version=0.0"],
        ["--format=pax", "-S", "--sparse-version=0.1"],
    ],
)
def test_gnu_tar(form: list[str], tree: Path, cli: Cli, tmp_path: Path) -> None:
    run("tar", *form, "--numeric-owner", "-C", tree, "-cf", tmp_path / "s.tar", ".")
    (tmp_path / "os.toml").write_text('[root]\nfrom = "s.tar"\n[filesystem]\ntype = "ext4"\n')
    said = cli("build", tmp_path / "os.toml", "-q", "-o", "a.raw")
    assert said.code == 0, said.err
    assert cli("verify", "a.raw").code == 0
    (tmp_path / "out").mkdir()
    run("debugfs", "-R", f'rdump /d "{tmp_path / "out"}"', tmp_path / "a.raw")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    run("tar", "--numeric-owner", "-C", theirs, "-xf", tmp_path / "s.tar", "./d")
    _one_link(theirs / "d")  # debugfs makes two files of two names
    assert digest_tree(tmp_path / "out" / "d", kept=True) == digest_tree(theirs / "d", kept=True)
    links = run("debugfs", "-R", 'stat "/d/twin"', tmp_path / "a.raw").text()
    assert "Links: 2" in links
    assert allocated(tmp_path / "a.raw") < 2 << 20


def _one_link(folder: Path) -> None:
    twin = folder / "twin"
    status = twin.stat()
    data = twin.read_bytes()
    twin.unlink()
    twin.write_bytes(data)
    os.chown(twin, status.st_uid, status.st_gid)
    twin.chmod(status.st_mode & 0o7777)


def test_a_fixed_tar_gives_a_fixed_image_packed_or_not(tree: Path, cli: Cli, tmp_path: Path) -> None:
    run("tar", "--numeric-owner", "-C", tree, "-cf", tmp_path / "s.tar", ".")
    run("gzip", "-k", tmp_path / "s.tar")
    run("xz", "-k", tmp_path / "s.tar")
    images: list[bytes] = []
    for ending in ("", ".gz", ".xz"):
        (tmp_path / "os.toml").write_text(f'[root]\nfrom = "s.tar{ending}"\n')
        assert cli("build", tmp_path / "os.toml", "-q", "-o", f"{len(images)}.raw").code == 0
        images.append((tmp_path / f"{len(images)}.raw").read_bytes())
    assert len(images[0]) > 1 << 20
    # What a tree is called in errors is in no image.
    assert images[0] == images[1] == images[2]


@pytest.mark.parametrize(
    "name", ["SCHILY.xattr.user.note", "LIBARCHIVE.xattr.user.note", "LIBARCHIVE.xattr.user.n%6Fte"]
)
def test_attributes_of_both_kinds(name: str, cli: Cli, kernels: Path, tmp_path: Path) -> None:
    value = base64.b64encode(b"\1kept").decode().rstrip("=") if name.startswith("L") else "\1kept"
    data = tar_bytes(
        (entry("boot/vmlinuz-6.1"), (kernels / "hello.xen").read_bytes()),
        (entry("a", pax_headers={name: value}), b"x"),
    )
    (tmp_path / "s.tar").write_bytes(data)
    (tmp_path / "os.toml").write_text('[root]\nfrom = "s.tar"\n')
    assert cli("build", tmp_path / "os.toml", "-q", "-o", "a.raw").code == 0
    assert "user.note (5)" in run("debugfs", "-R", "ea_list /a", tmp_path / "a.raw").text()


@pytest.mark.parametrize(
    "more,words",
    [
        ([entry("../x")], "leads out of the image"),
        ([entry("a/../../x")], "leads out of the image"),
        ([entry("x", tarfile.LNKTYPE, linkname="../../etc/passwd")], "leads out of the image"),
        ([entry("x", tarfile.LNKTYPE, linkname="none")], "is no file of this tree"),
        ([entry("x", tarfile.SYMTYPE, linkname="/etc"), (entry("x/shadow"), b"x")], "which is no folder"),
        ([entry("boot", tarfile.SYMTYPE, linkname="/etc")], "a folder and something else"),
    ],
)
def test_what_would_leave_the_tree(
    more: list[tarfile.TarInfo], words: str, cli: Cli, kernels: Path, tmp_path: Path
) -> None:
    kernel = (kernels / "hello.xen").read_bytes()
    (tmp_path / "s.tar").write_bytes(
        tar_bytes(entry("boot/", tarfile.DIRTYPE), (entry("boot/vmlinuz-6"), kernel), *more)
    )
    (tmp_path / "os.toml").write_text('[root]\nfrom = "s.tar"\n')
    said = cli("build", tmp_path / "os.toml", "-q", "-o", "a.raw")
    assert (said.code, words in said.err) == (2, True), said.err
    assert "s.tar" in said.err or words in {
        "is no file of this tree",
        "which is no folder",
        "a folder and something else",
    }
    assert not list((tmp_path / "cache" / "tmp").iterdir())


def test_the_last_of_two_members_counts(cli: Cli, kernels: Path, tmp_path: Path) -> None:
    kernel = (kernels / "hello.xen").read_bytes()
    data = tar_bytes((entry("boot/vmlinuz-6"), b"none"), (entry("a"), b"one"), (entry("a"), b"second"),
                     (entry("boot/vmlinuz-6"), kernel))  # fmt: skip
    (tmp_path / "s.tar").write_bytes(data)
    (tmp_path / "os.toml").write_text('[root]\nfrom = "s.tar"\n')
    assert cli("build", tmp_path / "os.toml", "-q", "-o", "a.raw").code == 0
    assert run("debugfs", "-R", "cat /a", tmp_path / "a.raw").text() == "second"
