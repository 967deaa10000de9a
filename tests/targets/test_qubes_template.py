"""A template's root volume for Qubes OS: what is on it, what verifies it, and what it cannot be."""

import hashlib
import json
from pathlib import Path

import pytest

from imagekit.artifact import Artifact
from imagekit.command import run
from imagekit.errors import KernelError, RecipeError, UnsuitedError, VerificationError
from imagekit.sparse import map_blocks
from imagekit.verify import verify
from tests.cli.conftest import Cli, cli
from tests.conftest import Make
from tests.kernel.multiboot2 import by_multiboot2
from tests.verify.lie import GRUB_CFG, Lie

__all__ = ["cli"]

TEMPLATE = {"qubes.format": "template", "cmdline": "a=1 b=two"}


def built(make: Make, kernel: Path, **settings: object) -> Artifact:
    told = {name.replace("__", "."): value for name, value in settings.items()}
    (made,) = make(kernel, target="qubes", settings={**TEMPLATE, **told})
    return made


@pytest.fixture
def pvh(kernels: Path) -> Path:
    return kernels / "hello-pvh.xen"


def on(image: Path, path: str) -> bytes:
    return run("debugfs", "-R", f"cat {path}", image).stdout


def cfg(*lines: str, timeout: int = 0) -> bytes:
    """Return a grub.cfg that is ours but for what its entry does, and when."""
    entry = "\n".join(("menuentry 'x' {", *(f"  {line}" for line in lines), "}"))
    return f"set default=0\nset timeout={timeout}\n{entry}\n".encode()


@pytest.mark.parametrize("layout", ["auto", "mbr", "gpt"])
@pytest.mark.parametrize("kind", ["ext2", "ext4", "fat16"])
def test_what_is_made_verifies(make: Make, pvh: Path, layout: str, kind: str) -> None:
    made = built(make, pvh, disk__layout=layout, filesystem__type=kind)
    assert made.path.name == "hello-pvh.qubes.img"
    checks = list(verify(made.path))
    assert {check.verdict for check in checks} == {"ok"}
    assert {check.name for check in checks} >= {"menu.lst", "grub.cfg", "kernel", "commands", "root volume"}
    sidecar = json.loads(Path(f"{made.path}.imagekit.json").read_bytes())
    assert (sidecar["boot"]["guest"], sidecar["boot"]["way"]) == ("pvh", "multiboot")
    assert sidecar["layout"]["disk"] == ("plain" if layout == "auto" else layout)


def test_what_is_on_it(make: Make, pvh: Path) -> None:
    image = built(make, pvh).path
    run("e2fsck", "-fn", image)
    assert on(image, "/boot/kernel") == pvh.read_bytes()
    assert b"  multiboot '/boot/kernel' 'a=1' 'b=two'\n" in on(image, GRUB_CFG)
    assert b"\nkernel /boot/kernel a=1 b=two\n" in on(image, "/boot/grub/menu.lst")
    text = image.with_name(f"{image.name}.readme.txt").read_text()
    assert "--class TemplateVM" in text
    assert f"--root-copy-from {image.name} hello-pvh\n" in text
    assert f"echo '{hashlib.sha256(image.read_bytes()).hexdigest()}  {image.name}' | sha256sum --check" in text


def test_a_kernel_of_multiboot_2_alone(cli: Cli, make: Make, kernels: Path, tmp_path: Path) -> None:
    path = by_multiboot2(kernels, tmp_path)
    image = built(make, path).path
    assert b"  multiboot2 '/boot/kernel' 'a=1' 'b=two'\n" in on(image, GRUB_CFG)
    assert {check.verdict for check in verify(image)} == {"ok"}
    report = json.loads(cli("inspect", image, "--json").out)
    assert {one["loader"]: one["boots"] for one in report["verdicts"]}["GRUB PVH"] is True


def test_a_kernel_and_files_of_ones_own_places(make: Make, pvh: Path, tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("hello")
    files = [{"from": str(tmp_path / "motd"), "to": "/etc/motd"}]
    image = built(make, pvh, root__kernel="/boot/unikernel", root__files=files).path
    assert on(image, "/boot/unikernel") == pvh.read_bytes()
    assert on(image, "/etc/motd") == b"hello"
    assert {check.verdict for check in verify(image)} == {"ok"}


def test_a_ramdisk_is_a_module(make: Make, pvh: Path, tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(b"ramdisk")
    image = built(make, pvh, ramdisk=str(tmp_path / "initrd")).path
    assert b"module --nounzip '/boot/hello-pvh.ramdisk'" in on(image, GRUB_CFG)
    assert {check.verdict for check in verify(image)} == {"ok"}


def test_a_pv_kernel_is_for_the_other_format(make: Make, kernels: Path) -> None:
    with pytest.raises(KernelError, match="cannot boot on qubes: GRUB finds no Multiboot header") as caught:
        built(make, kernels / "hello.xen")
    assert 'qubes.format = "kernel"' in caught.value.details


@pytest.mark.parametrize("boot", ["pv", "hvm"])
def test_no_other_guest(make: Make, pvh: Path, boot: str) -> None:
    with pytest.raises(KernelError, match=f"has no {boot.upper()} guests"):
        built(make, pvh, boot=boot)


@pytest.mark.parametrize("cmdline", ["it's", 'a "b', "back\\"])
def test_a_command_line_that_grub_cannot_hand_on(make: Make, pvh: Path, cmdline: str) -> None:
    with pytest.raises((UnsuitedError, RecipeError), match="GRUB"):
        built(make, pvh, cmdline=cmdline)


def test_the_same_bytes(make: Make, pvh: Path, tmp_path: Path) -> None:
    first = built(make, pvh).path.read_bytes()
    copy = tmp_path / "elsewhere" / "hello-pvh.xen"
    copy.parent.mkdir()
    copy.write_bytes(pvh.read_bytes())
    (again,) = make(copy, target="qubes", settings=TEMPLATE, out=tmp_path / "other.img")
    assert hashlib.sha256(again.path.read_bytes()).digest() == hashlib.sha256(first).digest()


@pytest.mark.parametrize(
    "path,data,words",
    [
        (
            GRUB_CFG,
            b"set default=0\nset timeout=0\nmenuentry 'x' {\n  multiboot '/boot/other'\n}\n",
            "there is no such file",
        ),
        (
            GRUB_CFG,
            b"set default=0\nset timeout=0\nmenuentry 'x' {\n  multiboot '/boot/kernel' 'a=1'\n}\n",
            "command line",
        ),
        (
            GRUB_CFG,
            b"set default=0\nset timeout=0\nmenuentry 'x' {\n  linux '/boot/kernel' 'a=1' 'b=two'\n}\n",
            "loads the kernel by",
        ),
        (
            GRUB_CFG,
            b"set default=0\nset timeout=9\nmenuentry 'x' {\n  multiboot '/boot/kernel' 'a=1' 'b=two'\n}\n",
            "timeout",
        ),
        (GRUB_CFG, cfg("multiboot '/boot/other'"), "there is no such file"),
        (GRUB_CFG, cfg("multiboot '/boot/kernel' 'a=1'"), "command line"),
        (GRUB_CFG, cfg("linux '/boot/kernel' 'a=1' 'b=two'"), "loads the kernel by"),
        (GRUB_CFG, cfg("multiboot '/boot/kernel' 'a=1' 'b=two'", timeout=9), "timeout"),
        (GRUB_CFG, cfg(), "imagekit does not write"),
        (GRUB_CFG, cfg("multiboot '/boot/kernel"), "imagekit does not write"),
        ("/boot/kernel", b"no kernel", "is not the one in the sidecar"),
        ("/boot/grub/menu.lst", b"timeout 0\ntitle x\nroot (hd0)\nkernel /boot/kernel a=2\n", "command line"),
    ],
)
def test_a_lie_is_found(make: Make, pvh: Path, path: str, data: bytes, words: str) -> None:
    lie = Lie(built(make, pvh).path)
    lie.write(path, data)
    with pytest.raises(VerificationError) as caught:
        list(verify(lie.main))
    assert words in f"{caught.value.brief} {caught.value.details}"


@pytest.mark.parametrize("path", [GRUB_CFG, "/boot/kernel", "/boot/grub/menu.lst"])
def test_what_is_missing_is_found(make: Make, pvh: Path, path: str) -> None:
    lie = Lie(built(make, pvh).path)
    lie.remove(path)
    with pytest.raises(VerificationError):
        list(verify(lie.main))


def test_without_its_commands_it_is_none(make: Make, pvh: Path) -> None:
    lie = Lie(built(make, pvh).path)
    lie.tell("companions", {})
    with pytest.raises(VerificationError, match="which an artifact for Qubes comes with"):
        list(verify(lie.main))


def test_commands_of_another_volume_are_found(make: Make, pvh: Path) -> None:
    """Commands that are as the sidecar has them, and tell of other bytes than those of the image."""
    lie = Lie(built(make, pvh).path)
    readme = lie.main.with_name(f"{lie.main.name}.readme.txt")
    own = hashlib.sha256(lie.main.read_bytes()).hexdigest()
    readme.write_text(readme.read_text().replace(own, "0" * 64))
    lie.tell("companions", {".readme.txt": map_blocks(readme).digest})
    with pytest.raises(VerificationError, match="tells of another file"):
        list(verify(lie.main))


def test_without_its_sidecar(make: Make, pvh: Path) -> None:
    lie = Lie(built(make, pvh).path)
    lie.sidecar.unlink()
    verdicts = {check.name: check.verdict for check in verify(lie.main, target="qubes")}
    assert verdicts["grub.cfg"] == verdicts["kernel"] == "ok"


def test_grub_finds_it_by_inspect(cli: Cli, make: Make, pvh: Path) -> None:
    report = json.loads(cli("inspect", built(make, pvh).path, "--json").out)
    verdicts = {one["loader"]: one["boots"] for one in report["verdicts"]}
    assert (verdicts["GRUB PVH"], verdicts["pygrub"]) == (True, False)
