"""Which loaders find the kernel; pygrub itself is asked too, wherever it is installed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.disk import grub_modules, write_core
from imagekit.disk.grub import put_grub
from imagekit.inspect import inspect
from imagekit.inspect.boot import Scene, Site, judge_all
from imagekit.inspect.report import Verdict
from imagekit.programs import find
from tests.conftest import Make

MakeDisk = Callable[..., Path]
LST = "default 0\ntimeout 0\ntitle app\nroot {root}\nkernel {kernel} a=1\n"
CFG = "set timeout=0\nmenuentry 'app' {{\n  {command} /boot/app.xen a=1\n}}\n"
MASKS = """\
  if [ "$grub_platform" = "pc" ]; then
    outb 0x21 0xff
    outb 0xa1 0xff
  fi
"""
PYGRUB, AMAZON, PV, PVH, BIOS = "pygrub", "Amazon PV-GRUB", "GRUB PV", "GRUB PVH", "GRUB BIOS"


def menu_lst(root: str = "(hd0)", kernel: str = "/boot/app.xen") -> dict[str, bytes]:
    return {"boot/grub/menu.lst": LST.format(root=root, kernel=kernel).encode()}


def grub_cfg(command: str) -> dict[str, bytes]:
    return {"boot/grub/grub.cfg": CFG.format(command=command).encode()}


def judged(image: Path) -> dict[str, Verdict]:
    verdicts = {verdict.loader: verdict for verdict in inspect(image).verdicts}
    if find("pygrub"):
        out = image.parent / "pygrub"
        out.mkdir(exist_ok=True)
        arguments = ("-q", "--output-format=simple", f"--output-directory={out}", image)
        found = run("pygrub", *arguments, ok=(0, 1))
        # pygrub hands over any file; whether Xen takes it is ours to say.
        if found.status:
            assert not verdicts[PYGRUB].boots, found.complaint()
        elif not verdicts[PYGRUB].boots:
            assert verdicts[PYGRUB].chain[-1].what in {"kernel", "start"}
    return verdicts


def boots(verdicts: dict[str, Verdict]) -> set[str]:
    return {name for name, verdict in verdicts.items() if verdict.boots}


@pytest.mark.parametrize("fs", ["ext2", "ext3", "ext4", "FAT16", "FAT32"])
@pytest.mark.parametrize("table,root", [("none", "(hd0)"), ("mbr", "(hd0,0)"), ("gpt", "(hd0,0)")])
def test_every_layout_with_a_pv_kernel(make_disk: MakeDisk, kernels: Path, fs: str, table: str, root: str) -> None:
    kernel = (kernels / "hello.xen").read_bytes()
    files = {"boot/app.xen": kernel, **menu_lst(root), **grub_cfg("linux")}
    verdicts = judged(make_disk(files, fs=fs, table=table, mib=40 if fs == "FAT32" else 16))
    assert boots(verdicts) == {PYGRUB, PV} | ({AMAZON} if fs.startswith("ext") else set())
    if fs.startswith("FAT"):
        assert any(f"it does not read {fs}" in why for why in verdicts[AMAZON].why)


@pytest.mark.parametrize(
    "table,root", [("none", "(hd0,0)"), ("mbr", "(hd0)"), ("mbr", "(hd0,3)"), ("mbr", "(fd0)")]
)
def test_a_wrong_root_stops_all_but_pygrub(make_disk: MakeDisk, kernels: Path, table: str, root: str) -> None:
    files = {"boot/app.xen": (kernels / "hello.xen").read_bytes(), **menu_lst(root)}
    verdicts = judged(make_disk(files, table=table))
    assert boots(verdicts) == {PYGRUB}
    assert f"root {root} is not on this disk" in verdicts[AMAZON].why[0]
    assert not verdicts[AMAZON].chain[-1].holds


def test_a_device_before_the_path_is_a_root_too(make_disk: MakeDisk, kernels: Path) -> None:
    kernel = (kernels / "hello.xen").read_bytes()
    files = {"boot/app.xen": kernel, **menu_lst("(hd0)", "(hd0,0)/boot/app.xen")}
    assert boots(judged(make_disk(files, table="mbr"))) == {PYGRUB, AMAZON}


def test_a_pvh_kernel_under_pv_grub_is_explained(make_disk: MakeDisk, kernels: Path) -> None:
    kernel = (kernels / "hello-pvh.xen").read_bytes()
    verdicts = judged(make_disk({"boot/app.xen": kernel, **menu_lst()}))
    assert boots(verdicts) == {PYGRUB}
    assert verdicts[AMAZON].why == ("it cannot start /boot/app.xen: it has no entry for PV, only for PVH",)
    assert (verdicts[AMAZON].chain[-1].what, verdicts[AMAZON].chain[-1].holds) == ("start", False)


def test_multiboot_is_for_grub_pvh_and_breaks_pygrub(make_disk: MakeDisk, kernels: Path) -> None:
    kernel = (kernels / "hello-pvh.xen").read_bytes()
    verdicts = judged(make_disk({"boot/app.xen": kernel, **grub_cfg("multiboot"), **menu_lst()}))
    assert boots(verdicts) == {PVH}
    assert verdicts[PYGRUB].why == ("/boot/grub/grub.cfg says `multiboot`, which it does not understand",)
    assert (verdicts[PYGRUB].chain[-1].text, verdicts[PYGRUB].chain[-1].holds) == ("/boot/grub/grub.cfg", False)
    assert verdicts[PVH].chain[-1].text == "multiboot header"


@pytest.mark.parametrize("more", [{}, {"filesystem.type": "fat16"}, {"disk.boot": 8 << 20}], ids=str)
def test_a_boot_sector_of_grubs(make: Make, kernels: Path, more: dict[str, object]) -> None:
    (artifact,) = make(kernels / "hello-pvh.xen", settings={"boot": "hvm", **more})
    report = inspect(artifact.path)
    verdicts = judged(artifact.path)
    assert boots(verdicts) == {BIOS, PVH}, "GRUB for PVH guests reads the same menu"
    assert verdicts[BIOS].why == ("/boot/grub/grub.cfg starts /boot/hello-pvh.xen",)
    assert [link.what for link in verdicts[BIOS].chain] == ["loader", "disk", "menu", "entry", "kernel", "start"]
    assert [segment.label for segment in report.segments if segment.label == "GRUB's core"]


def test_a_boot_sector_whose_core_lacks_a_module(make: Make, kernels: Path, tmp_path: Path) -> None:
    (artifact,) = make(kernels / "hello-pvh.xen", settings={"boot": "hvm"})
    for names, why in (
        (grub_modules("fat16", "multiboot", packed=False), "it does not read ext2 (partition 1)"),
        (
            grub_modules("ext2", "multiboot2", packed=False),
            "/boot/grub/grub.cfg says `multiboot`, which it does not",
        ),
    ):
        write_core({}, tmp_path / "area", {"modules": list(names)})
        with artifact.path.open("r+b") as file:
            put_grub(file, (tmp_path / "area").read_bytes(), 1 << 20)
        assert why in judged(artifact.path)[BIOS].why[0]


def test_a_boot_sector_of_another_loader(make: Make, kernels: Path) -> None:
    (artifact,) = make(kernels / "hello-pvh.xen", settings={"boot": "hvm"})
    with artifact.path.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(512), 80 * 512)
        assert judged(artifact.path)[BIOS].boots is None, "GRUB's, and its core cannot be read"
        os.pwrite(file.fileno(), b"\xfa", 0)
    verdict = judged(artifact.path)[BIOS]
    assert verdict.boots is None, "another loader's, which may well boot it"
    assert verdict.why[0].startswith("the boot sector starts no GRUB that imagekit knows")
    with artifact.path.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(440), 0)
    verdict = judged(artifact.path)[BIOS]
    assert (verdict.boots, verdict.why) == (False, ("the boot sector starts no GRUB",))


@pytest.mark.parametrize(
    "old, new, boots, why",
    [
        ("  fi\n}", "}", False, "/boot/grub/grub.cfg: an `if` or a brace is not closed"),
        ("terminal_output console serial\nfi", "terminal_output console serial", False, "an `if` or a brace"),
        (" {\n", "\n", False, "an `if` or a brace is not closed, or one too many is"),
        ("outb 0x21", "outb 0x22", None, "line 12: '    outb 0x22 0xff'"),
        ("    outb 0x21 0xff\n    outb 0xa1 0xff\n", "", None, "has a line that imagekit does not write"),
        (MASKS, "", False, "leaves the 8259 as the BIOS had it: the kernel dies of the timer's first tick"),
    ],
)
def test_a_grub_cfg_that_is_damaged(
    make: Make, kernels: Path, old: str, new: str, boots: bool | None, why: str
) -> None:
    (artifact,) = make(kernels / "hello-pvh.xen", settings={"boot": "hvm"})
    image, own = f"{artifact.path}?offset={1 << 20}", artifact.path.with_name("own.cfg")
    run("debugfs", "-R", f"dump /boot/grub/grub.cfg {own}", image)
    assert old in own.read_text()
    own.write_text(own.read_text().replace(old, new, 1))
    run("debugfs", "-w", "-R", "rm /boot/grub/grub.cfg", image)
    run("debugfs", "-w", "-R", f"write {own} /boot/grub/grub.cfg", image)
    verdict = judged(artifact.path)[BIOS]
    assert verdict.boots is boots
    assert why in verdict.why[-1]


def test_a_core_that_cannot_mask(make: Make, kernels: Path, tmp_path: Path) -> None:
    (artifact,) = make(kernels / "hello-pvh.xen", settings={"boot": "hvm"})
    names = [name for name in grub_modules("ext2", "multiboot", packed=False) if name != "iorw"]
    write_core({}, tmp_path / "area", {"modules": names})
    with artifact.path.open("r+b") as file:
        put_grub(file, (tmp_path / "area").read_bytes(), 1 << 20)
    verdict = judged(artifact.path)[BIOS]
    assert (verdict.boots, verdict.why) == (False, ("GRUB's core lacks iorw",))


@pytest.mark.parametrize("name", ["boot/menu.lst", "boot/grub/grub.conf", "grub/menu.lst"])
def test_where_a_menu_is_looked_for(make_disk: MakeDisk, kernels: Path, name: str) -> None:
    files = {"boot/app.xen": (kernels / "hello.xen").read_bytes(), name: menu_lst("(hd0,0)")["boot/grub/menu.lst"]}
    expected = {"boot/menu.lst": set(), "boot/grub/grub.conf": {PYGRUB}, "grub/menu.lst": {PYGRUB, AMAZON}}
    assert boots(judged(make_disk(files, table="mbr"))) == expected[name]


def test_grub_menu_lst_of_a_whole_disk_is_not_amazons(make_disk: MakeDisk, kernels: Path) -> None:
    files = {
        "app.xen": (kernels / "hello.xen").read_bytes(),
        "grub/menu.lst": b"timeout 0\ntitle a\nkernel /app.xen\n",
    }
    assert boots(judged(make_disk(files))) == {PYGRUB}


def test_without_a_timeout_only_pygrub_goes_on(make_disk: MakeDisk, kernels: Path) -> None:
    files = {
        "boot/app.xen": (kernels / "hello.xen").read_bytes(),
        "boot/grub/menu.lst": b"title a\nroot (hd0)\nkernel /boot/app.xen\n",
    }
    verdicts = judged(make_disk(files))
    assert boots(verdicts) == {PYGRUB}
    assert "waits for a key" in verdicts[AMAZON].why[0]


@pytest.mark.parametrize(
    "menu,why",
    [
        (b"timeout 0\n", "/boot/grub/menu.lst has no entry"),
        (b"timeout 0\ntitle a\nroot (hd0)\n", "the entry of /boot/grub/menu.lst names no kernel"),
        (b"timeout 0\ntitle a\nkernel /gone\n", "/gone is not on the whole disk"),
        (b"timeout 0\ntitle a\nkernel /boot\n", "/boot is not on the whole disk"),
        (b"timeout 0\ntitle a\nkernel /boot/grub/menu.lst\n", "/boot/grub/menu.lst: no kernel"),
    ],
)
def test_a_chain_that_breaks_says_where(make_disk: MakeDisk, menu: bytes, why: str) -> None:
    verdict = judged(make_disk({"boot/grub/menu.lst": menu}))[AMAZON]
    assert (verdict.boots, verdict.why) == (False, (why,))


def test_a_script_that_never_says_boot(make_disk: MakeDisk, kernels: Path) -> None:
    files = {"boot/app.xen": (kernels / "hello.xen").read_bytes(), "boot/grub/grub.cfg": b"linux /boot/app.xen\n"}
    assert "never says `boot`" in judged(make_disk(files))[PV].why[0]


def test_a_variable_as_root_is_where_the_menu_lies(make_disk: MakeDisk, kernels: Path) -> None:
    menu = b"set root=$prefix\nset timeout=2\nmenuentry 'a' {\nlinux /boot/app.xen\n}\n"
    files = {"boot/app.xen": (kernels / "hello.xen").read_bytes(), "boot/grub/grub.cfg": menu}
    verdict = judged(make_disk(files))[PV]
    assert (verdict.boots, verdict.why) == (True, ("/boot/grub/grub.cfg starts /boot/app.xen after 2 s",))


@pytest.mark.parametrize("root", ["hd0,msdos1", "(hd0,1)", "xen/xvda,msdos1", "$root"])
def test_roots_of_grub_2(make_disk: MakeDisk, kernels: Path, root: str) -> None:
    menu = f"set timeout=0\nmenuentry 'a' {{\nset root='{root}'\nlinux /boot/app.xen\n}}\n".encode()
    files = {"boot/app.xen": (kernels / "hello.xen").read_bytes(), "boot/grub/grub.cfg": menu}
    assert boots(judged(make_disk(files, table="mbr"))) == (
        {PV} if root.startswith(("xen", "$")) else {PV, PYGRUB}
    )


@pytest.mark.parametrize("name,loader", [("boot/extlinux.conf", PYGRUB), ("boot/xen/pvboot-x86_64.elf", PV)])
def test_what_is_not_followed_is_unsure(make_disk: MakeDisk, name: str, loader: str) -> None:
    assert judged(make_disk({name: b"x", **menu_lst()}))[loader].boots is None


def test_a_file_system_that_is_only_named_is_unsure() -> None:
    scene = Scene([Site(0, "reiserfs", None)])
    assert [verdict.boots for verdict in judge_all(scene)] == [None] * 4 + [False]
    assert scene.menus == ()
    assert scene.kernels == ()


@pytest.mark.parametrize("kind,reading", [("xfs", {PV, PVH}), ("xfs v4", {PYGRUB, AMAZON, PV, PVH})])
def test_who_reads_which_xfs(kind: str, reading: set[str]) -> None:
    verdicts = {verdict.loader: verdict for verdict in judge_all(Scene([Site(0, kind, None)]))}
    assert {loader for loader, verdict in verdicts.items() if verdict.boots is None} == reading
    for loader in verdicts.keys() - reading - {BIOS}:
        assert verdicts[loader].boots is False
        assert f"it does not read {kind}" in verdicts[loader].why[0]


def test_a_kernel_larger_than_any_is_not_read(make_disk: MakeDisk) -> None:
    image = make_disk({"boot/app.xen": b"x", **menu_lst()})
    run("debugfs", "-w", "-R", "set_inode_field /boot/app.xen size 200000000", image)
    assert judged(image)[AMAZON].why == ("/boot/app.xen: larger than 128 MiB: not read",)
