"""The ebs target: whole GiB, and a block list that an independent reading of the file agrees with."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from imagekit.artifact import Artifact
from imagekit.errors import KernelError, RecipeError
from imagekit.recipe import parse_size
from tests.conftest import Make

GIB = 1 << 30
BLOCK = 524288  # Amazon's, not ours: the block of the EBS direct APIs


def one(artifacts: list[Artifact]) -> Artifact:
    (artifact,) = artifacts
    return artifact


def sidecar(artifact: Artifact) -> dict[str, Any]:
    content = json.loads(Path(f"{artifact.path}.imagekit.json").read_bytes())
    assert isinstance(content, dict)
    return content


def blocks(path: Path) -> list[list[object]]:
    """Read a file from end to end, holes and all."""
    found: list[list[object]] = []
    with path.open("rb") as file:
        for index in range(path.stat().st_size // BLOCK):
            data = file.read(BLOCK)
            if data.count(0) != BLOCK:
                found.append([index, hashlib.sha256(data).hexdigest()])
        assert file.read() == b""
    return found


@pytest.mark.parametrize("layout", ["plain", "mbr", "gpt"])
def test_the_block_list(make: Make, kernels: Path, tmp_path: Path, layout: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "zeros").write_bytes(bytes(3 * BLOCK))
    (tmp_path / "tree" / "data").write_bytes(b"data" * BLOCK)
    recipe = tmp_path / "app.toml"
    recipe.write_text(f'kernel = "{kernels}/hello.xen"\ndisk.layout = "{layout}"\n[[root.files]]\nfrom = "tree"\n')
    artifact = one(make(recipe, target="ebs"))
    content = sidecar(artifact)
    assert artifact.path.name == "app.ebs"
    assert artifact.path.stat().st_size == GIB
    assert (content["length"], content["block_size"]) == (GIB, BLOCK)
    assert content["blocks"] == blocks(artifact.path)
    assert 4 < len(content["blocks"]) < 100
    assert (content["boot"]["guest"], content["boot"]["way"]) == ("pv", "pv-grub")
    assert content["companions"] == {}


def test_the_same_kernel_packed(make: Make, kernels: Path) -> None:
    assert sidecar(one(make(kernels / "hello.xen.gz", target="ebs")))["kernel"]["compression"] == ["gzip"]


@pytest.mark.parametrize("size, length", [("auto", GIB), ("1GiB", GIB), ("3GiB", 3 * GIB), (2 * GIB, 2 * GIB)])
def test_whole_gib(make: Make, kernels: Path, size: object, length: int) -> None:
    artifact = one(make(kernels / "hello.xen", target="ebs", settings={"disk.size": size}))
    assert artifact.path.stat().st_size == length
    assert artifact.on_disk < 64 << 20


@pytest.mark.parametrize("size", ["1536MiB", "512MiB", GIB + 512, "65537GiB"])
def test_no_other_size(make: Make, kernels: Path, tmp_path: Path, size: object) -> None:
    with pytest.raises(RecipeError) as caught:
        make(kernels / "hello.xen", target="ebs", settings={"disk.size": size})
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "size, more, hint",
    [
        ("1536MiB", {}, "2GiB"),
        ("512MiB", {}, "1GiB"),
        (0, {}, "1GiB"),
        ("65537GiB", {}, "65536GiB"),
        ("512MiB", {"filesystem.size": "2GiB"}, "2GiB"),
        ("512MiB", {"filesystem.size": "2GiB", "disk.layout": "mbr"}, "3GiB"),
    ],
)
def test_what_a_wrong_size_is_told(
    make: Make, kernels: Path, size: object, more: dict[str, object], hint: str
) -> None:
    settings = {"disk.size": size, **more}
    kernel = kernels / "hello.xen"
    with pytest.raises(RecipeError, match="whole number of GiB, 65536 at most") as caught:
        make(kernel, target="ebs", settings=settings)
    assert str(parse_size(size)) in caught.value.details
    assert caught.value.hint == f'disk.size = "{hint}", or "auto"'
    if hint != "65536GiB":  # which few file systems here can hold
        make(kernel, target="ebs", settings={**settings, "disk.size": hint})


@pytest.mark.parametrize("kind", ["fat16", "fat32"])
def test_no_fat(make: Make, kernels: Path, kind: str) -> None:
    with pytest.raises(RecipeError, match="PV-GRUB reads no FAT") as caught:
        make(kernels / "hello.xen", target="ebs", settings={"filesystem.type": kind})
    assert "ext2" in caught.value.hint


@pytest.mark.parametrize("kind", ["ext3", "ext4"])
def test_other_file_systems(make: Make, kernels: Path, kind: str) -> None:
    settings: dict[str, object] = {"filesystem.type": kind}
    content = sidecar(one(make(kernels / "hello.xen", target="ebs", settings=settings)))
    assert content["layout"]["filesystem"]["type"] == kind


def test_a_pvh_kernel(make: Make, kernels: Path) -> None:
    """It boots by GRUB in the boot sector, if GRUB finds a way into it."""
    artifact = one(make(kernels / "hello-pvh.xen", target="ebs"))
    content = sidecar(artifact)
    since = "it has no entry for PV, only for PVH"
    assert content["boot"] | {"guest": "hvm", "way": "hvm", "since": since} == content["boot"]
    assert (content["layout"]["disk"], content["length"]) == ("mbr", GIB)
    assert content["blocks"] == blocks(artifact.path)
    assert content["blocks"][0][0] == 0, "the boot sector is uploaded, too"
    with pytest.raises(KernelError, match=r"as PV: it has no entry for PV, .*; as HVM: GRUB finds no") as caught:
        make(kernels / "broken" / "pvh-only.xen", target="ebs")
    assert caught.value.exit_code == 3
    assert "notes 1 and 3" in caught.value.details
    assert "a Multiboot header" in caught.value.details
    assert "--target qubes, xcp or xen" in caught.value.hint


@pytest.mark.parametrize("more", [{"boot": "pvh"}, {"boot": "hvm"}], ids=str)
def test_the_guests_that_ec2_has(make: Make, kernels: Path, more: dict[str, object]) -> None:
    if more["boot"] == "hvm":
        assert sidecar(one(make(kernels / "hello-pvh.xen", target="ebs", settings=more)))["boot"]["guest"] == "hvm"
    with pytest.raises(KernelError, match="cannot boot on ebs"):
        make(kernels / "hello.xen", target="ebs", settings=more)


def test_a_pvh_guest(make: Make, kernels: Path) -> None:
    with pytest.raises(KernelError, match="EC2 has no PVH guests") as caught:
        make(kernels / "hello.xen", target="ebs", settings={"boot": "pvh"})
    assert (caught.value.details, caught.value.hint) == ("", 'boot = "auto" boots it')
