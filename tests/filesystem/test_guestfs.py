"""What Linux makes in libguestfs' appliance, read back by it. Three launches; the rest is long."""

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.appliance import is_dead
from imagekit.artifact import Artifact
from imagekit.command import run
from imagekit.errors import BuildError
from imagekit.inspect import inspect
from imagekit.verify import verify
from tests.cli.conftest import SCRIPT
from tests.filesystem.conftest import EPOCH, entry, packed

pytestmark = [pytest.mark.guestfs, pytest.mark.xdist_group("guestfs")]

Make = Callable[..., list[Artifact]]
_CAPABILITY = b"\x01\x00\x00\x02\x00\x20" + bytes(14)  # cap_net_raw, as setcap(8) writes it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guestfs")


def tree(folder: Path) -> Path:
    """Write a tar of all that a file system of Linux holds."""
    xattrs = {
        "SCHILY.xattr.user.note": "kept",
        "SCHILY.xattr.security.capability": _CAPABILITY.decode("utf-8", "surrogateescape"),
    }
    return packed(
        folder / "tree.tar",
        (entry("etc", tarfile.DIRTYPE, mode=0o1750, uid=7, gid=8, mtime=5), b""),
        (entry("etc/odd", mode=0o4640, uid=1234, gid=60000, mtime=86400, pax_headers=xattrs), b"odd\n"),
        (entry("etc/twin", tarfile.LNKTYPE, linkname="etc/odd"), b""),
        (entry("etc-x"), b""),
        (entry("etc/way", tarfile.SYMTYPE, linkname="odd"), b""),
        (entry("dev/null", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3), b""),
        (entry("dev/loop", tarfile.BLKTYPE, mode=0o660, devmajor=7, devminor=0), b""),
        (entry("dev/pipe", tarfile.FIFOTYPE, mode=0o600), b""),
        (entry("srv/\udcff", mode=0o600), b"no UTF-8"),
    )


def recipe(folder: Path, kernels: Path, text: str) -> Path:
    page = folder / "page"
    page.mkdir(exist_ok=True)
    (page / "index.html").write_text("by reference")
    files = "".join(f'[[root.files]]\nfrom = "{path}"\n' for path in (tree(folder), page))
    path = folder / "app.toml"
    path.write_text(f'kernel = "{kernels / "hello.xen"}"\nname = "app"\n{text}{files}')
    return path


def imagekit(*arguments: str | Path, cache: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        env={**os.environ, "IMAGEKIT_CACHE_DIR": str(cache), **env},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


LVM = """
[filesystem]
type = "xfs"
label = "root"
[disk]
layout = "gpt"
boot = "8MiB"
lvm = { group = "vg-a", volume = "root" }
"""


@pytest.fixture(scope="module")
def image(folder: Path, kernels: Path) -> Path:
    """An xfs on LVM, behind a boot partition."""
    made = imagekit("build", recipe(folder, kernels, LVM), "-o", folder / "app.raw", "-q", cache=folder / "cache")
    assert made.returncode == 0, made.stderr
    assert not list((folder / "cache" / "tmp").iterdir())
    return folder / "app.raw"


def compare(path: Path) -> None:
    """Hold what a Linux packed against the tree."""
    with tarfile.open(path) as tar:
        found = {member.name.removeprefix("./").rstrip("/"): member for member in tar}
        assert tar.extractfile(found["etc/odd"]).read() == b"odd\n"  # type: ignore[union-attr]
        assert tar.extractfile(found["index.html"]).read() == b"by reference"  # type: ignore[union-attr]
    odd, etc = found["etc/odd"], found["etc"]
    odd, twin = (odd, found["etc/twin"]) if odd.isreg() else (found["etc/twin"], odd)
    assert (odd.mode, odd.uid, odd.gid, odd.mtime) == (0o4640, 1234, 60000, 86400)
    assert odd.pax_headers["SCHILY.xattr.user.note"] == "kept"
    assert odd.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == _CAPABILITY
    assert (twin.islnk(), twin.linkname.rpartition("/")[2]) == (True, odd.name.rpartition("/")[2])
    assert (etc.mode, etc.uid, etc.gid, etc.mtime) == (0o1750, 7, 8, 5)
    assert found["etc/way"].linkname == "odd"
    for name, kind, device in (("null", tarfile.CHRTYPE, (1, 3)), ("loop", tarfile.BLKTYPE, (7, 0))):
        member = found[f"dev/{name}"]
        assert (member.type, (member.devmajor, member.devminor)) == (kind, device)
    assert found["dev/pipe"].isfifo()
    assert "srv/\udcff" in found
    assert (found["."].mtime, found["."].mode) == (EPOCH, 0o755)


def test_it_is_what_its_sidecar_says(image: Path) -> None:
    checks = {check.name: check for check in verify(image, guestfs=True)}
    assert {check.verdict for check in checks.values()} == {"ok"}
    assert "LVM" in checks
    assert checks["Linux"].seen.startswith("finds the xfs whole, mounts it, reads ")
    sidecar = json.loads(image.with_name("app.raw.imagekit.json").read_bytes())
    assert sidecar["layout"]["lvm"] == {"group": "vg-a", "volume": "root"}
    assert sidecar["layout"]["maker"] == "guestfs"


def test_without_guestfs_verify_says_what_it_left_out(image: Path) -> None:
    skipped = [check for check in verify(image) if check.verdict == "skipped"]
    assert [(check.name, check.seen) for check in skipped] == [
        ("root", "on LVM: a Linux opens and checks it, with --guestfs")
    ]


def test_pygrub_boots_it(image: Path) -> None:
    run("pygrub", "-q", "--output-format=simple", f"--output-directory={image.parent}", image)


def test_inspect_names_it(image: Path) -> None:
    assert [found.kind for found in inspect(image).filesystems] == ["ext2", "LVM"]


def test_a_shell_sees_the_tree(image: Path, folder: Path) -> None:
    before = image.stat().st_mtime_ns
    commands = (f"tar-out / {folder / 'out.tar'} xattrs:true", "cat /boot/grub/menu.lst", "cat /none")
    said = imagekit("shell", image, *(word for one in commands for word in ("-c", one)), cache=folder / "cache")
    assert said.returncode == 4, said.stderr
    assert "kernel /boot/app.xen" in said.stdout
    assert "/none: No such file or directory" in said.stderr
    assert "guestfish ended with status 1" in said.stderr
    compare(folder / "out.tar")
    assert image.stat().st_mtime_ns == before


def test_an_appliance_that_cannot_start(folder: Path, kernels: Path, image: Path) -> None:
    text = LVM.replace("vg-a", "vg-b")
    said = imagekit(
        "build", recipe(folder, kernels, text), "-o", folder / "none.raw", "-q",
        cache=folder / "cache", LIBGUESTFS_PATH="/nonexistent",
    )  # fmt: skip
    assert said.returncode == 4
    assert "libguestfs could not start its machine" in said.stderr
    assert not (folder / "none.raw").exists()
    assert not list((folder / "cache" / "tmp").iterdir())
    checked = imagekit("verify", "--guestfs", image, cache=folder / "cache", LIBGUESTFS_PATH="/nonexistent")
    assert (checked.returncode, "libguestfs could not start" in checked.stderr) == (4, True)


def test_a_disk_that_is_too_small(make: Make, kernels: Path) -> None:
    settings = {"filesystem.type": "xfs", "disk.size": "100MiB", "disk.layout": "mbr", "disk.boot": "8MiB"}
    with pytest.raises(BuildError, match="the tree needs a file system of 304 MiB"):
        make(kernels / "hello.xen", settings=settings)


@pytest.mark.long
@pytest.mark.parametrize(
    "kind, text",
    [
        ("reiserfs", '[disk]\nlayout = "mbr"\n'),
        ("jfs", '[disk]\nlayout = "gpt"\nboot = "8MiB"\n'),
        ("btrfs", '[disk]\nlayout = "mbr"\nboot = "8MiB"\n'),
        ("xfs", '[disk]\nlayout = "plain"\n[xen]\nloader = "direct"\n'),
        ("btrfs", '[disk]\nlvm = {}\n[xen]\nloader = "direct"\n'),
        ("ext4", '[disk]\nlayout = "mbr"\n'),
        ("ext2", "[disk]\n"),
    ],
)
def test_every_type(kind: str, text: str, tmp_path: Path, kernels: Path) -> None:
    text = f'[filesystem]\ntype = "{kind}"\nmaker = "guestfs"\nlabel = "root"\n{text}'
    made = imagekit(
        "build", recipe(tmp_path, kernels, text), "-o", tmp_path / "app.raw", "-q", cache=tmp_path / "cache"
    )
    assert made.returncode == 0, made.stderr
    seen = {check.name: check for check in verify(tmp_path / "app.raw", guestfs=True)}
    assert seen["Linux"].verdict == "ok"
    command = f"tar-out / {tmp_path / 'out.tar'} xattrs:true"
    assert imagekit("shell", tmp_path / "app.raw", "-c", command, cache=tmp_path / "cache").returncode == 0
    compare(tmp_path / "out.tar")


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_build_leaves_nothing(number: signal.Signals, tmp_path: Path, kernels: Path) -> None:
    env = {**os.environ, "IMAGEKIT_CACHE_DIR": str(tmp_path / "cache")}
    path = recipe(tmp_path, kernels, LVM)
    with subprocess.Popen([SCRIPT, "build", path, "-q", "-o", tmp_path / "app.raw"], env=env) as process:
        until(lambda: b"qemu-system" in processes(tmp_path))
        process.send_signal(number)
    assert process.returncode == (143 if number == signal.SIGTERM else -number)
    until(lambda: b"qemu-system" not in processes(tmp_path) and b"guestfish" not in processes(tmp_path))
    assert not (tmp_path / "app.raw").exists()
    later = imagekit("build", kernels / "hello.xen", "-q", "-o", tmp_path / "b.raw", cache=tmp_path / "cache")
    assert later.returncode == 0
    assert not list((tmp_path / "cache" / "tmp").iterdir())
    bound = Path("/proc/net/unix").read_bytes()
    assert not [path for path in Path("/tmp").glob("libguestfs??????") if is_dead(path, bound)]  # noqa: S108


def processes(folder: Path) -> bytes:
    """Return the command lines of all processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        found.append(line if os.fsencode(folder) in line else b"")
    return b"\n".join(found)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.long
def test_what_the_appliance_lacks_is_named(tmp_path: Path, kernels: Path) -> None:
    """An appliance made without the package that brings mkfs.xfs."""
    (parts,) = Path("/usr/lib").glob("*/guestfs/supermin.d")
    (tmp_path / "guestfs").mkdir()
    shutil.copytree(parts, tmp_path / "guestfs" / "supermin.d", ignore=shutil.ignore_patterns("packages-xfs"))
    said = imagekit(
        "build", recipe(tmp_path, kernels, LVM), "-o", tmp_path / "app.raw", "-q",
        cache=tmp_path / "cache", LIBGUESTFS_PATH=str(tmp_path / "guestfs"), LIBGUESTFS_CACHEDIR=str(tmp_path),
    )  # fmt: skip
    assert said.returncode == 4, said.stderr
    assert "libguestfs' machine cannot make xfs as it is" in said.stderr
    assert "sudo apt-get install libguestfs-xfs" in said.stderr


@pytest.mark.long
def test_what_is_written_makes_the_sidecar_a_lie(tmp_path: Path, kernels: Path) -> None:
    image = tmp_path / "app.raw"
    assert imagekit("build", kernels / "hello.xen", "-q", "-o", image, cache=tmp_path / "cache").returncode == 0
    said = imagekit("shell", "--write", image, "-c", "write /note changed", cache=tmp_path / "cache")
    assert said.returncode == 0, said.stderr
    assert "makes the sidecar of app.raw a lie" in said.stderr
    assert run("debugfs", "-R", "cat /note", image).text() == "changed"
    assert imagekit("verify", image, cache=tmp_path / "cache").returncode == 6
    said = imagekit("shell", image, "-c", "rm /note", cache=tmp_path / "cache")
    assert (said.returncode, "Read-only file system" in said.stderr) == (4, True)
