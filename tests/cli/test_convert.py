"""`imagekit convert`."""

import json
import os
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.formats.xva import Xva
from imagekit.sparse import allocated, map_blocks
from tests.cli.conftest import Cli

MIB = 1 << 20


@pytest.fixture
def raw(cli: Cli, hello: Path) -> Path:
    """Return app.raw, 64 MiB, named relatively."""
    assert cli("build", hello, "-o", "app.raw", "--size", "64MiB", "-q").code == 0
    return Path("app.raw")


def test_there_and_back(cli: Cli, raw: Path) -> None:
    said = cli("convert", raw, "app.vhd")
    assert (said.code, said.out, said.err) == (0, "app.vhd\n", "")
    run("qemu-img", "compare", "-f", "raw", "-F", "vpc", raw, "app.vhd")
    assert cli("convert", "app.vhd", "back.img").out == "back.img\n"
    assert map_blocks(Path("back.img")) == map_blocks(raw)
    assert allocated(Path("back.img")) < 8 * MIB
    said = cli("convert", raw, "as.json", "--to", "vhd", "--json")
    assert json.loads(said.out) == {"path": "as.json", "form": "vhd", "size": Path("app.vhd").stat().st_size}
    assert Path("as.json").read_bytes() == Path("app.vhd").read_bytes()


def test_an_xva_and_what_others_made(cli: Cli, hello: Path) -> None:
    sets = ("--set", "disk.size=8MiB", "--set")
    assert cli("build", hello, "-t", "xcp", *sets, "xcp.format=raw", "-o", "same.raw", "-q").code == 0
    for packing in ("none", "gzip", "zstd"):
        more = ("xcp.format=xva", "--set", f"xcp.packing={packing}")
        assert cli("build", hello, "-t", "xcp", *sets, *more, "-o", "app.xva", "-q").code == 0
        assert cli("convert", "app.xva", "back.raw").code == 0
        assert map_blocks(Path("back.raw")) == map_blocks(Path("same.raw"))
    run("qemu-img", "convert", "-O", "vpc", "-o", "force_size=on", "same.raw", "qemu.vhd")
    assert cli("convert", "qemu.vhd", "back.raw").code == 0
    assert map_blocks(Path("back.raw")) == map_blocks(Path("same.raw"))


@pytest.mark.parametrize("boot, kernel", [("pv", "hello.xen"), ("pvh", "hello-pvh.xen"), ("hvm", "hello-pvh.xen")])
def test_an_artifact_s_own_guest_is_the_xva_s(cli: Cli, kernels: Path, boot: str, kernel: str) -> None:
    assert cli("build", kernels / kernel, "--boot", boot, "-q", "-o", "app.raw").code == 0
    assert cli("convert", "app.raw", "app.xva").code == 0
    with Path("app.xva").open("rb") as file:
        (machine,) = Xva(iter(lambda: file.read(MIB), b"")).facts.machines
    assert machine.kind == boot


def test_to_an_xva(cli: Cli, raw: Path) -> None:
    os.truncate(raw, 65 * MIB + 512)
    assert cli("convert", raw, "app.vhd").code == 0
    said = cli("convert", "app.vhd", "web.xva", "--guest", "pv", "--memory", "64MiB")
    assert (said.code, said.out, said.err) == (0, "web.xva\n", "")
    assert Path("web.xva").stat().st_size < 16 * MIB
    with Path("web.xva").open("rb") as file:
        (machine,) = Xva(iter(lambda: file.read(MIB), b"")).facts.machines
    assert (machine.name, machine.kind, machine.memory, machine.bootloader) == ("web", "pv", 64 * MIB, "pygrub")
    assert cli("convert", raw, "again.xva", "--to", "xva").code == 0
    run("tar", "-xf", "web.xva", "--one-top-level=taken")
    run("xva-img", "disk-export", "taken/Ref:2", "taken.raw")
    os.truncate(raw, 66 * MIB)
    assert map_blocks(Path("taken.raw")) == map_blocks(raw)
    assert cli("convert", "web.xva", "back.raw").code == 0
    assert map_blocks(Path("back.raw")) == map_blocks(raw)


def test_over_a_parent(cli: Cli, raw: Path) -> None:
    assert cli("convert", raw, "old.vhd").code == 0
    with raw.open("r+b") as file:
        os.pwrite(file.fileno(), b"changed", 40 * MIB)
    said = cli("convert", raw, "new.vhd", "--parent", "old.vhd")
    assert (said.code, said.out) == (0, "new.vhd\n"), said.err
    assert Path("new.vhd").stat().st_size < 3 * MIB
    assert cli("convert", "new.vhd", "back.raw").code == 0
    assert map_blocks(Path("back.raw")) == map_blocks(raw)
    Path("old.vhd").rename("elsewhere.vhd")
    said = cli("convert", "new.vhd", "again.raw")
    assert said.code == 6
    assert "its parent is not beside it" in said.err
    assert cli("convert", raw, "old.vhd").code == 0
    said = cli("convert", "new.vhd", "again.raw")
    assert said.code == 6
    assert "is not the parent" in said.err
    assert not Path("again.raw").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("none.raw", "x.vhd"), "none.raw is not there, or cannot be read"),
        ((".", "x.vhd"), ". is not there, or cannot be read"),
        (("app.raw", "app.raw"), "app.raw would be written over, and is an input"),
        (
            ("app.raw", "x.qcow2"),
            "x.qcow2 does not say what it is to be\nhint: OUT.raw, OUT.vhd, OUT.xva, or --to",
        ),
        (("app.raw", "x.xva", "--memory", "much"), "--memory much is no size"),
        (("app.raw", "x.xva", "--memory", "0"), "has some memory"),
        (("app.raw", "x.raw", "--memory", "64MiB"), "--memory and --guest are for OUT.xva"),
        (("app.raw", "x.vhd", "--guest", "pv"), "--memory and --guest are for OUT.xva"),
        (("app.raw", "x.raw", "--parent", "app.xen"), "a VHD's parent lies beside it"),
        (("app.raw", "there/x.vhd", "--parent", "app.xen"), "a VHD's parent lies beside it"),
    ],
)
def test_usage_that_cannot_be_meant(cli: Cli, raw: Path, arguments: tuple[str, ...], words: str) -> None:
    before = sorted(os.listdir("."))
    said = cli("convert", *arguments)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert sorted(os.listdir(".")) == before
    assert raw.exists()


def test_damage_leaves_what_was_there(cli: Cli, raw: Path) -> None:
    assert cli("convert", raw, "app.vhd").code == 0
    Path("cut.vhd").write_bytes(Path("app.vhd").read_bytes()[:-700])
    Path("out.raw").write_text("precious")
    before = sorted(os.listdir("."))
    said = cli("convert", "cut.vhd", "out.raw")
    assert said.code == 6
    assert "no footer at its end" in said.err
    assert (Path("out.raw").read_text(), sorted(os.listdir("."))) == ("precious", before)


def test_a_raw_disk_is_not_believed_to_have_a_parent(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(b"secret".ljust(2 << 20, b"\0"))
    assert cli("convert", tmp_path / "secret.raw", tmp_path / "secret.vhd").code == 0
    (tmp_path / "other.raw").write_bytes(bytes(2 << 20))
    said = cli("convert", tmp_path / "other.raw", tmp_path / "child.vhd", "--parent", tmp_path / "secret.vhd")
    assert said.code == 0, said.err
    (tmp_path / "child.vhd").rename(tmp_path / "guest.raw")
    said = cli("convert", tmp_path / "guest.raw", tmp_path / "guest.vhd")
    assert said.code == 6
    assert "is a differencing VHD by its content alone" in said.err
    assert not (tmp_path / "guest.vhd").exists()
