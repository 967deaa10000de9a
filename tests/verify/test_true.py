"""Every kind of artifact that is made passes every check."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import pytest

from imagekit.artifact import SUFFIX, Artifact
from imagekit.verify import Check, verify
from tests.verify.lie import Built

DISK = ["digest", "companions", "partition table", "identity", "file system", "menu.lst", "pygrub", "kernel"]


def names(checks: list[Check]) -> list[str]:
    return [check.name for check in checks]


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4", "fat16", "fat32"])
@pytest.mark.parametrize("layout", ["plain", "mbr", "gpt"])
def test_every_layout_and_file_system(artifact: Built, layout: str, kind: str) -> None:
    image = artifact(disk__layout=layout, filesystem__type=kind, filesystem__label="Label-1")
    checks = list(verify(image.main))
    assert {check.verdict for check in checks} == {"ok"}
    disk = [name for name in names(checks) if name != "GPT"]
    assert disk == [*DISK, "hello.xen.raw.cfg", "hello.xen.raw.xm.cfg", "hello.xen.raw.xml"]
    assert ("GPT" in names(checks)) is (layout == "gpt")


def test_an_ebs_volume(artifact: Built) -> None:
    checks = list(verify(artifact(target="ebs", disk__layout="gpt").main))
    assert {check.verdict for check in checks} == {"ok"}
    assert checks[-1].name == "EBS"
    assert checks[-1].seen.startswith("1 GiB, ")
    assert "blocks of the list" in checks[0].seen


@pytest.mark.parametrize(
    "kernel,settings",
    [
        ("hello.xen.gz", {}),
        ("hello-legacy.xen", {}),
        ("hello-pvh.xen", {}),
        ("hello-pvh.xen", {"xen__loader": "direct", "disk__layout": "mbr"}),
        ("hello.xen", {"xen__loader": "direct", "cmdline": 'a=\'b "c" $d; e'}),
        ("hello.xen", {"cmdline": ""}),
        ("hello.xen", {"cmdline": "  two  blanks, é and = (hd1,1) "}),
        ("hello.xen", {"root__kernel": "/it/is+here~1.xen", "vcpus": 3, "memory": "1GiB"}),
    ],
    ids=str,
)
def test_every_kernel_and_command_line(artifact: Built, kernel: str, settings: dict[str, object]) -> None:
    checks = list(verify(artifact(kernel=kernel, **settings).main))
    assert {check.verdict for check in checks} == {"ok"}


def test_a_ramdisk(artifact: Built, tmp_path: Path) -> None:
    ramdisk = tmp_path / "initrd"
    ramdisk.write_bytes(os.urandom(5000))
    checks = list(verify(artifact(ramdisk=str(ramdisk)).main))
    assert {check.verdict for check in checks} == {"ok"}


def test_the_sidecar_stands_for_its_artifact(artifact: Built) -> None:
    image = artifact()
    assert list(verify(image.sidecar)) == list(verify(image.main))


def test_a_name_that_tools_would_read_meaning_into(
    make: Callable[..., list[Artifact]], kernels: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "-x@@1?offset=9:a b.raw"
    make(kernels / "hello.xen", out=odd)
    assert {check.verdict for check in verify(odd)} == {"ok"}


def rooms(main: Path) -> list[Path]:
    return [link for link in Path(gettempdir()).glob("imagekit-verify-*/disk") if link.readlink() == main]


def test_nothing_is_written_and_nothing_is_left(artifact: Built) -> None:
    image = artifact(disk__layout="gpt")
    folder = image.main.parent
    before = {path: (path.stat().st_ctime_ns, path.read_bytes()) for path in folder.iterdir()}
    used = 0
    for _ in verify(image.main):
        used = max(used, len(rooms(image.main)))
        assert set(folder.iterdir()) == set(before)
    assert used == 1
    for check in verify(image.main):
        if check.name == "pygrub":
            break
    assert {path: (path.stat().st_ctime_ns, path.read_bytes()) for path in folder.iterdir()} == before
    assert rooms(image.main) == []


def test_a_tool_that_is_not_there_is_told(
    artifact: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = artifact()
    (tmp_path / "bin").mkdir()
    for program in ("prlimit", "python3", "env"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    skipped = [check for check in verify(image.main, guestfs=True) if check.verdict == "skipped"]
    assert [(check.name, check.seen.split(":")[0]) for check in skipped] == [
        ("Linux", "guestfish is not installed"),
        ("hello.xen.raw.xml", "virt-xml-validate is not installed"),
    ]


def test_without_a_sidecar_what_can_be_is_checked(artifact: Built) -> None:
    image = artifact(target="ebs")
    image.sidecar.unlink()
    checks = list(verify(image.main, target="ebs"))
    assert [check.name for check in checks if check.verdict == "skipped"] == ["digest"]
    assert names(checks)[-3:] == ["pygrub", "kernel", "EBS"]


def test_without_a_sidecar_companions_are_read_all_the_same(artifact: Built) -> None:
    image = artifact()
    image.sidecar.unlink()
    assert names(list(verify(image.main, target="xen")))[-2:] == ["hello.xen.raw.xm.cfg", "hello.xen.raw.xml"]
    for companion in image.main.parent.glob("*.raw.*"):
        assert not companion.name.endswith(SUFFIX)
        companion.unlink()
    assert list(verify(image.main, target="xen"))[-1].verdict == "skipped"


def test_a_target_that_we_do_not_know(artifact: Built) -> None:
    image = artifact()
    image.tell("target", "elsewhere")
    assert list(verify(image.main))[-1] == Check("elsewhere", "skipped", "no checks of its own")


def test_a_menu_that_no_loader_reaches(artifact: Built) -> None:
    image = artifact()
    image.write("/boot/extlinux.conf", b"default l\nlabel l\n kernel /boot/other.xen\n")
    assert {check.verdict for check in verify(image.main)} == {"ok"}
