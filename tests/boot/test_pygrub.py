"""Xen's own pygrub takes from our images the kernel and the very command line that the recipe gave."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.programs import find
from imagekit.recipe import parse_size
from tests.conftest import Make

pytestmark = pytest.mark.skipif(find("pygrub") is None, reason="pygrub comes with xen-utils")

CMDLINES = st.one_of(
    st.text(st.sampled_from(" \"'\\$;={}#a-/\u00e9\U0001f40d(),`"), max_size=30),
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20),
).filter(lambda text: not text.strip().endswith("\\") and len(text.encode()) <= 1000)


def booted(disk: Path) -> tuple[bytes, bytes | None, str]:
    """Return kernel, ramdisk and command line as pygrub hands them to Xen."""
    folder = Path(tempfile.mkdtemp(dir=disk.parent))
    done = run("pygrub", "-q", "--output-format=simple", f"--output-directory={folder}", disk)
    found = dict(line.split(" ", 1) for line in done.stdout.decode().split("\n") if line)
    ramdisk = Path(found["ramdisk"]).read_bytes() if "ramdisk" in found else None
    return Path(found["kernel"]).read_bytes(), ramdisk, found.get("args", "")


@settings(max_examples=12)
@given(
    cmdline=CMDLINES,
    layout=st.sampled_from(["plain", "mbr", "gpt"]),
    kind=st.sampled_from(["ext2", "ext4", "fat16"]),
)
@example(cmdline="", layout="plain", kind="ext2")
@example(cmdline="--x='a  b' \"$HOME\";=\\n #", layout="gpt", kind="ext3")
@example(cmdline="x" * 1000, layout="mbr", kind="ext2")
@example(cmdline="a=1 --b=/c,d:e", layout="plain", kind="fat32")
def test_the_command_line_comes_out_as_it_went_in(
    cmdline: str, layout: str, kind: str, kernels: Path, make: Make
) -> None:
    settings = {"cmdline": cmdline, "disk.layout": layout, "filesystem.type": kind}
    (artifact,) = make(kernels / "hello.xen", settings=settings)
    kernel, _, args = booted(artifact.path)
    assert kernel == (kernels / "hello.xen").read_bytes()
    assert args == cmdline.strip()


@pytest.mark.parametrize("name", ["hello-pvh.xen", "hello.xen.gz", "hello-legacy.xen"])
def test_other_kernels_come_out_as_they_went_in(name: str, kernels: Path, make: Make) -> None:
    (artifact,) = make(kernels / name, settings={"cmdline": "a $b"})
    kernel, _, args = booted(artifact.path)
    assert (kernel, args) == ((kernels / name).read_bytes(), "a $b")


@pytest.mark.parametrize("cmdline", ["plain", "qu'oted"])
def test_a_ramdisk_and_a_kernel_with_a_path_of_its_own(
    cmdline: str, kernels: Path, make: Make, tmp_path: Path
) -> None:
    (tmp_path / "initrd").write_bytes(os.urandom(100_000))
    settings = {"ramdisk": str(tmp_path / "initrd"), "root.kernel": "/k-1+2.x~y@z", "cmdline": cmdline}
    (artifact,) = make(kernels / "hello.xen", settings=settings)
    kernel, ramdisk, args = booted(artifact.path)
    assert kernel == (kernels / "hello.xen").read_bytes()
    assert ramdisk == (tmp_path / "initrd").read_bytes()
    assert args == cmdline


@pytest.mark.parametrize("size, block_size", [("2GiB", 0), ("64MiB", 4096), ("64MiB", 2048)])
def test_every_block_size_is_read(size: str, block_size: int, kernels: Path, make: Make) -> None:
    settings = {"disk.size": parse_size(size), "filesystem.block_size": block_size, "filesystem.type": "ext4"}
    (artifact,) = make(kernels / "hello.xen", settings=settings)
    assert booted(artifact.path)[0] == (kernels / "hello.xen").read_bytes()
