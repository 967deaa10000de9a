"""The xen target: which guest, which loader, and what its configurations say."""

import ast
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from imagekit.artifact import Artifact
from imagekit.errors import KernelError, RecipeError
from imagekit.sparse import digest_file
from tests.conftest import Make


def xl(artifact: Artifact, suffix: str = ".cfg") -> dict[str, Any]:
    """Read a configuration as xm does: as Python."""
    text = artifact.path.with_name(artifact.path.name + suffix).read_text()
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def sidecar(artifact: Artifact) -> dict[str, Any]:
    content = json.loads(artifact.path.with_name(artifact.path.name + ".imagekit.json").read_bytes())
    assert isinstance(content, dict)
    return content


def suffixes(artifact: Artifact) -> set[str]:
    return {path.name.removeprefix(artifact.path.name) for path in artifact.companions}


def one(artifacts: list[Artifact]) -> Artifact:
    (artifact,) = artifacts
    return artifact


def test_a_disk_larger_than_a_bios_boots(make: Make, kernels: Path) -> None:
    settings = {"boot": "hvm", "disk.size": "5TiB"}
    with pytest.raises(RecipeError, match="an HVM guest's BIOS boots a disk of 2 TiB at most") as caught:
        make(kernels / "hello-pvh.xen", target="xen", settings=settings)
    assert "gpt" not in caught.value.hint
    assert caught.value.exit_code == 2


PV = {".cfg", ".xml", ".xm.cfg", ".imagekit.json"}
PVH = {".cfg", ".xml", ".imagekit.json"}


@pytest.mark.parametrize(
    "kernel, boot, loader, guest, way, files",
    [
        ("hello.xen", "auto", "pygrub", "pv", "pygrub", PV),
        ("hello.xen", "pv", "pygrub", "pv", "pygrub", PV),
        ("hello.xen", "auto", "direct", "pv", "pv", PV | {".xen"}),
        ("hello-legacy.xen", "auto", "pygrub", "pv", "pygrub", PV),
        ("hello.xen.gz", "auto", "pygrub", "pv", "pygrub", PV),
        ("hello-pvh.xen", "auto", "pygrub", "pvh", "pvh-pygrub", PVH),
        ("hello-pvh.xen", "pvh", "pygrub", "pvh", "pvh-pygrub", PVH),
        ("hello-pvh.xen", "auto", "direct", "pvh", "pvh", PVH | {".xen"}),
        ("hello-pvh.xen", "hvm", "pygrub", "hvm", "hvm", PV),
    ],
)
def test_guest_and_loader(
    make: Make, kernels: Path, kernel: str, boot: str, loader: str, guest: str, way: str, files: set[str]
) -> None:
    artifact = one(make(kernels / kernel, settings={"boot": boot, "xen.loader": loader}))
    name = kernel.partition(".")[0]
    assert suffixes(artifact) == files
    assert artifact.path.name == f"{name}.xen.raw"
    config = xl(artifact)
    assert (config["type"], config["name"]) == (guest, name)
    pygrub = loader == "pygrub" and guest != "hvm"
    assert ("bootloader" in config, "kernel" in config) == (pygrub, loader == "direct")
    content = sidecar(artifact)
    assert (content["boot"]["guest"], content["boot"]["way"], content["target"]) == (guest, way, "xen")
    if loader == "direct":
        assert config["kernel"] == f"/var/lib/xen/images/{name}.xen"
        beside = artifact.path.with_name(f"{artifact.path.name}.xen")
        assert beside.read_bytes() == (kernels / kernel).read_bytes()
    if guest == "pv":
        assert xl(artifact, ".xm.cfg")["name"] == name


@pytest.mark.parametrize(
    "kernel, boot, missing",
    [
        ("hello.xen", "pvh", "PHYS32_ENTRY"),
        ("hello-pvh.xen", "pv", "ENTRY or VIRT_BASE"),
        ("hello.xen", "hvm", "a Multiboot header in the first 8 KiB, or the form of a Linux bzImage"),
        ("broken/no-notes.xen", "auto", "ENTRY or VIRT_BASE"),
    ],
)
def test_a_kernel_that_cannot(
    make: Make, kernels: Path, tmp_path: Path, kernel: str, boot: str, missing: str
) -> None:
    with pytest.raises(KernelError, match="cannot boot on xen") as caught:
        make(kernels / kernel, settings={"boot": boot})
    assert missing in caught.value.details
    assert not (tmp_path / "out").exists()


def test_a_file_in_dom0_starts_no_hvm_guest(make: Make, kernels: Path) -> None:
    with pytest.raises(KernelError, match=r"kernel comes from its disk, and xen\.loader is direct") as caught:
        make(kernels / "hello-pvh.xen", settings={"boot": "hvm", "xen.loader": "direct"})
    assert caught.value.details == 'missing: xen.loader = "pygrub"'


def test_an_hvm_guest_where_nothing_else_boots(make: Make, kernels: Path, tmp_path: Path) -> None:
    """A Multiboot kernel without a note of Xen's."""
    data = bytearray((kernels / "hello-pvh.xen").read_bytes())
    at = data.index(b"Xen\0")
    data[at : at + 3] = b"Zen"
    (tmp_path / "plain.elf").write_bytes(data)
    artifact = one(make(tmp_path / "plain.elf"))
    content = sidecar(artifact)
    assert (content["boot"]["guest"], content["layout"]["disk"]) == ("hvm", "mbr")
    assert content["boot"]["since"] == "it has no entry for PV; it has no entry for PVH"
    assert xl(artifact)["boot"] == xl(artifact, ".xm.cfg")["boot"] == "c"
    assert xl(artifact, ".xm.cfg")["builder"] == "hvm"


def test_of_two_refusals_the_telling_one(make: Make, kernels: Path) -> None:
    """A PVH kernel packed twice is refused for its packing, and not for having no PV entry."""
    import gzip  # noqa: PLC0415

    twice = kernels.with_name("twice-pvh.xen")
    twice.write_bytes(gzip.compress(gzip.compress((kernels / "hello-pvh.xen").read_bytes())))
    with pytest.raises(KernelError, match="packed 2 times"):
        make(twice)


def test_where_the_host_keeps_it(make: Make, kernels: Path) -> None:
    assert xl(one(make(kernels / "hello.xen")))["disk"] == [
        "format=raw, vdev=xvda, access=rw, target=/var/lib/xen/images/hello.xen.raw"
    ]
    artifact = one(make(kernels / "hello.xen", settings={"disk.path": "/dev/vg/hello"}))
    assert xl(artifact)["disk"][0].endswith("target=/dev/vg/hello")
    assert xl(artifact, ".xm.cfg")["disk"][0].startswith("phy:/dev/vg/hello,xvda,w")
    assert sidecar(artifact)["boot"]["path"] == "/dev/vg/hello"
    direct = one(
        make(kernels / "hello.xen", settings={"xen.loader": "direct", "xen.kernel_path": "/srv/hello.xen"})
    )
    assert xl(direct)["kernel"] == "/srv/hello.xen"


RECIPE = """
kernel = "{kernels}/hello.xen"
cmdline = "hello=world"
memory = "128MiB"
vcpus = 2
[[vif]]
bridge = "xenbr0"
mac = "00:16:3e:12:34:56"
[[vif]]
[[extra_disk]]
path = "/srv/data.qcow2"
vdev = "xvdb"
access = "ro"
format = "qcow2"
"""


def test_disks_and_interfaces(make: Make, kernels: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "app.toml"
    recipe.write_text(RECIPE.format(kernels=kernels))
    artifact = one(make(recipe))
    config = xl(artifact)
    assert (config["memory"], config["vcpus"]) == (128, 2)
    assert config["vif"] == ["mac=00:16:3e:12:34:56,bridge=xenbr0", ""]
    assert config["disk"][1] == "format=qcow2, vdev=xvdb, access=ro, target=/srv/data.qcow2"
    xml = ET.fromstring(artifact.path.with_name("app.xen.raw.xml").read_text())  # noqa: S314 -- our own
    assert [disk.get("file") for disk in xml.findall("devices/disk/source")][1] == "/srv/data.qcow2"
    assert len(xml.findall("devices/interface")) == 2


def test_the_command_line_is_in_the_menu_and_not_said_twice(make: Make, kernels: Path) -> None:
    """pygrub would add the configuration's behind the menu's."""
    settings: dict[str, object] = {"cmdline": "hello=world"}
    artifact = one(make(kernels / "hello.xen", settings=settings))
    assert not {"cmdline", "extra"} & {*xl(artifact), *xl(artifact, ".xm.cfg")}
    assert b"hello=world" in artifact.path.read_bytes()
    assert sidecar(artifact)["boot"]["cmdline"] == "hello=world"
    direct = one(make(kernels / "hello.xen", settings={**settings, "xen.loader": "direct"}))
    assert (xl(direct)["cmdline"], xl(direct, ".xm.cfg")["extra"]) == ("hello=world", "hello=world")


def test_a_command_line_that_xen_would_cut(make: Make, kernels: Path) -> None:
    assert make(kernels / "hello.xen", settings={"cmdline": "x" * 1023})
    with pytest.raises(RecipeError, match="longer than 1023 bytes"):
        make(kernels / "hello.xen", settings={"cmdline": "x" * 1024})


def test_no_ramdisk_without_pygrub(make: Make, kernels: Path, tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(b"initrd")
    settings: dict[str, object] = {"ramdisk": str(tmp_path / "initrd")}
    assert b"hello.ramdisk" in one(make(kernels / "hello.xen", settings=settings)).path.read_bytes()
    with pytest.raises(RecipeError, match="takes no ramdisk"):
        make(kernels / "hello.xen", settings={**settings, "xen.loader": "direct"})


@pytest.mark.parametrize("layout", ["plain", "mbr", "gpt"])
def test_the_sidecar(make: Make, kernels: Path, layout: str) -> None:
    artifact = one(make(kernels / "hello.xen", settings={"disk.layout": layout, "filesystem.label": "root"}))
    content = sidecar(artifact)
    assert set(content) == {
        "schema",
        "image",
        "target",
        "architecture",
        "kernel",
        "layout",
        "boot",
        "digest",
        "length",
        "companions",
    }
    assert (content["schema"], content["architecture"], content["image"]) == (
        "imagekit/artifact/1",
        "x86_64",
        "hello",
    )
    assert content["digest"] == artifact.digest == digest_file(artifact.path)
    assert content["length"] == artifact.size == artifact.path.stat().st_size
    assert content["companions"] == {
        path.name.removeprefix(artifact.path.name): digest_file(path)
        for path in artifact.companions
        if not path.name.endswith(".json")
    }
    assert content["kernel"]["digest"] == digest_file(kernels / "hello.xen")
    assert content["kernel"]["path"] == "/boot/hello.xen"
    where = content["layout"]
    assert (where["disk"], where["offset"]) == (layout, 0 if layout == "plain" else 1 << 20)
    assert (where["identity"] is None) == (layout == "plain")
    assert set(where["filesystem"]) == {"type", "label", "uuid"}
    assert where["filesystem"]["label"] == "root"
