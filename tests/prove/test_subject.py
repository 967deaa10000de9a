"""What is booted: the artifact's own bytes by its own way, and nothing that its sidecar does not stand for."""

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imagekit.artifact import Artifact, Sidecar, sidecar_path
from imagekit.errors import ImagekitError, UsageError, VerificationError
from imagekit.kernel import Way
from imagekit.prove import Subject, subject
from imagekit.prove.subject import disk
from imagekit.sparse import digest_file
from imagekit.unwrap import unwrapped
from tests.kernel.elf_builder import EM_386, Builder, Segment

if TYPE_CHECKING:
    from imagekit.formats.domain import Kind

MIB = 1 << 20
Of = Callable[..., Path]


@pytest.fixture
def of(make: Callable[..., list[Artifact]], kernels: Path) -> Of:
    """Return a function that builds one artifact and returns where it lies."""

    def built(kernel: str, target: str, **settings: object) -> Path:
        return make(kernels / kernel, target=target, settings=settings)[0].path

    return built


def found(path: Path, *, target: str | None = None, way: Way | None = None, memory: int | None = None) -> Subject:
    return subject(path, target=target, way=way, memory=memory)


def test_an_artifact_is_booted_as_its_sidecar_says(of: Of) -> None:
    path = of("hello.xen", "ebs", memory="32MiB", vcpus=2)
    seen = found(path)
    assert (seen.name, seen.target, seen.way, seen.memory, seen.vcpus) == (
        "hello",
        "ebs",
        Way.PV_GRUB,
        32 * MIB,
        2,
    )
    assert (seen.digest, seen.disk, seen.kernel) == (digest_file(path), True, b"")
    assert found(path, way=Way.PYGRUB_PV, memory=MIB * 8).way is Way.PYGRUB_PV
    assert found(path, memory=MIB * 8).memory == MIB * 8
    assert found(path, target="xen").way is Way.PYGRUB_PV


def test_pvh_has_its_own_way(of: Of) -> None:
    assert found(of("hello-pvh.xen", "xen")).way is Way.PVH_PYGRUB


def test_without_sidecar_and_way_nobody_knows_how(of: Of) -> None:
    path = of("hello.xen", "xen")
    sidecar_path(path).unlink()
    with pytest.raises(UsageError, match="has no sidecar beside it") as caught:
        found(path)
    assert (caught.value.exit_code, caught.value.hint) == (
        2,
        "--by pv, pygrub, pv-grub, pvh, pvh-pygrub, multiboot, hvm",
    )
    assert (found(path, target="ebs").way, found(path, target="xen").way) == (Way.PV_GRUB, Way.PYGRUB_PV)
    alone = found(path, way=Way.PYGRUB_PV)
    assert (alone.name, alone.target, alone.memory, alone.claims) == (path.name, "", 64 * MIB, None)


@pytest.mark.parametrize("name", ["none.raw", "folder"])
def test_what_is_no_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="is not there, or is no file"):
        found(tmp_path / name, way=Way.PV_GRUB)


@pytest.mark.parametrize("target", ["xen", "ebs"])
@pytest.mark.parametrize("way", [None, Way.PYGRUB_PV])
def test_one_byte_that_the_sidecar_does_not_know(target: str, way: Way | None, of: Of) -> None:
    path = of("hello.xen", target)
    with path.open("r+b") as file:
        file.seek(MIB)
        file.write(b"!")
    with pytest.raises(VerificationError, match="is not what its sidecar says") as caught:
        found(path, way=way)
    assert caught.value.exit_code == 6
    assert digest_file(path) in caught.value.details


def test_a_damaged_sidecar(of: Of) -> None:
    path = of("hello.xen", "xen")
    sidecar_path(path).write_text("{}")
    with pytest.raises(VerificationError, match="no sidecar of this version"):
        found(path)


def read(descriptor: int | None) -> bytes:
    assert descriptor is not None
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


@pytest.mark.parametrize("layout", ["plain", "mbr", "gpt"])
def test_a_block_list_put_together_is_the_image(layout: str, of: Of, tmp_path: Path) -> None:
    path = of("hello.xen", "ebs", **{"disk.layout": layout})
    before = sorted(tmp_path.iterdir())
    with disk(found(path), tmp_path) as descriptor:
        assert descriptor is not None
        assert os.fstat(descriptor).st_size == path.stat().st_size
        assert digest_file(Path(f"/proc/self/fd/{descriptor}")) == digest_file(path)
        with path.open("rb") as file:
            step = 16 * MIB
            for at in range(0, path.stat().st_size, step):
                assert os.pread(descriptor, step, at) == os.pread(file.fileno(), step, at)
        assert os.fstat(descriptor).st_ino != path.stat().st_ino, "it is another file"
        assert os.fstat(descriptor).st_blocks * 512 < 64 * MIB, "holes stay holes"
        assert sorted(tmp_path.iterdir()) == before, "it has no name"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"!")


def test_only_blocks_that_are_listed_are_booted(of: Of, tmp_path: Path) -> None:
    path = of("hello.xen", "ebs")
    seen = found(path)
    assert seen.claims is not None
    assert seen.claims.blocks is not None
    less = replace(seen.claims.blocks, blocks=seen.claims.blocks.blocks[:1])
    with disk(replace(seen, claims=seen.claims.model_copy(update={"blocks": less})), tmp_path) as descriptor:
        assert digest_file(Path(f"/proc/self/fd/{descriptor}")) == less.digest != seen.digest


def test_a_block_that_changes_after_the_look(of: Of, tmp_path: Path) -> None:
    path = of("hello.xen", "ebs")
    seen = found(path)
    sidecar = Sidecar.read(path)
    assert sidecar is not None
    assert sidecar.blocks is not None
    with path.open("r+b") as file:
        file.seek(sidecar.blocks.blocks[-1][0] * 512 * 1024)
        file.write(b"changed")
    with pytest.raises(VerificationError, match="changed while it was read"), disk(seen, tmp_path):
        pytest.fail("it was lent")


def test_a_plain_disk_is_lent_as_it_is(of: Of, tmp_path: Path) -> None:
    path = of("hello.xen", "xen")
    with disk(found(path), tmp_path) as descriptor:
        assert read(descriptor) == path.read_bytes()


@pytest.mark.parametrize("name, way", [("hello.xen", Way.PV_DIRECT), ("hello-pvh.xen", Way.PVH)])
def test_a_kernel_file_needs_no_disk(name: str, way: Way, kernels: Path, tmp_path: Path) -> None:
    seen = found(kernels / name, way=way)
    assert (seen.disk, seen.kernel, seen.cmdline) == (False, (kernels / name).read_bytes(), "")
    assert seen.digest == digest_file(kernels / name)
    with disk(seen, tmp_path) as descriptor:
        assert descriptor is None


def test_a_kernel_taken_off_the_disk(of: Of, kernels: Path) -> None:
    seen = found(of("hello.xen", "xen", cmdline="a=1 b"), way=Way.PV_DIRECT)
    assert (seen.kernel, seen.cmdline.strip(), seen.disk) == ((kernels / "hello.xen").read_bytes(), "a=1 b", True)


def test_a_disk_without_a_kernel(tmp_path: Path) -> None:
    (tmp_path / "zero.raw").write_bytes(bytes(MIB))
    with pytest.raises(ImagekitError) as caught:
        found(tmp_path / "zero.raw", way=Way.PV_DIRECT)
    assert caught.value.exit_code == 6


def test_the_companion_is_the_kernel_of_a_direct_boot(of: Of, kernels: Path) -> None:
    path = of("hello-pvh.xen", "xen", **{"xen.loader": "direct", "cmdline": "a=1"})
    seen = found(path)
    assert (seen.way, seen.kernel, seen.cmdline) == (Way.PVH, (kernels / "hello-pvh.xen").read_bytes(), "a=1")
    beside = path.with_name(path.name + ".xen")
    beside.write_bytes(beside.read_bytes() + b"!")
    with pytest.raises(VerificationError, match=r"\.xen is not what the sidecar says"):
        found(path)
    beside.unlink()
    with pytest.raises(VerificationError, match=r"\.xen is not what the sidecar says"):
        found(path)


NO_DISK = "is a kernel, and by {} a guest boots from a disk"


@pytest.mark.parametrize("way", [Way.HVM, Way.MULTIBOOT, Way.PYGRUB_PV, Way.PV_GRUB, Way.PVH_PYGRUB])
def test_a_kernel_is_no_disk(way: Way, kernels: Path, tmp_path: Path) -> None:
    multiboot = tmp_path / "multiboot.elf"
    header = struct.pack("<III", 0x1BADB002, 0, -0x1BADB002 & 0xFFFFFFFF)
    multiboot.write_bytes(Builder((Segment(content=header),), bits=32, machine=EM_386).build())
    for path in (kernels / "hello.xen", kernels / "hello-pvh.xen", multiboot):
        with pytest.raises(UsageError, match=NO_DISK.format(way.value)) as caught:
            found(path, way=way)
        assert ("--boot hvm" in caught.value.hint) == (way is Way.HVM)


@pytest.mark.parametrize("way", [Way.HVM, Way.MULTIBOOT, Way.PYGRUB_PV])
def test_neither_is_a_kernel_for_qubes_dom0(way: Way, of: Of) -> None:
    path = of("hello-pvh.xen", "qubes")
    with unwrapped(path, None) as raw:
        for _ in ("with its sidecar", "alone"):
            with pytest.raises(UsageError, match=NO_DISK.format(way.value)):
                subject(path, target=None, way=way, memory=None, raw=raw)
            sidecar_path(path).unlink(missing_ok=True)
        assert subject(path, target=None, way=Way.PVH, memory=None, raw=raw).kernel


def test_what_a_disk_is_called_does_not_matter(of: Of) -> None:
    path = of("hello-pvh.xen", "qubes", **{"qubes.format": "template"})
    assert (found(path).way, found(path).disk, found(path, way=Way.HVM).way) == (Way.MULTIBOOT, True, Way.HVM)


@pytest.mark.parametrize(
    "kernel, target, more, ways",
    [
        ("hello.xen", "xen", {}, (Way.PYGRUB_PV, Way.PVH_PYGRUB, Way.HVM)),
        ("hello-pvh.xen", "xen", {}, (Way.PYGRUB_PV, Way.PVH_PYGRUB, Way.HVM)),
        ("hello-pvh.xen", "xen", {"boot": "hvm"}, (Way.PYGRUB_PV, Way.PVH_PYGRUB, Way.HVM)),
        ("hello-pvh.xen", "xen", {"xen.loader": "direct"}, (Way.PV_DIRECT, Way.PVH, Way.HVM)),
        ("hello.xen", "ebs", {}, (Way.PV_GRUB, Way.PVH_PYGRUB, Way.HVM)),
        ("hello-pvh.xen", "ebs", {"boot": "hvm"}, (Way.PV_GRUB, Way.PVH_PYGRUB, Way.HVM)),
        ("hello-pvh.xen", "qubes", {"qubes.format": "template"}, (Way.PYGRUB_PV, Way.MULTIBOOT, Way.HVM)),
    ],
)
def test_a_kind_of_guest_has_its_way(
    kernel: str, target: str, more: dict[str, object], ways: tuple[Way, ...], of: Of
) -> None:
    """By the artifact's own loader; without a sidecar, by the target's, or pygrub."""
    path = of(kernel, target, **more)
    kinds: tuple[Kind, ...] = ("pv", "pvh", "hvm")
    seen = tuple(subject(path, target=None, way=None, memory=None, guest=kind).way for kind in kinds)
    assert seen == ways
    sidecar_path(path).unlink()
    if more != {"xen.loader": "direct"}:
        alone = tuple(subject(path, target=target, way=None, memory=None, guest=kind).way for kind in kinds)
        assert alone == ways
    unknown = tuple(subject(path, target=None, way=None, memory=None, guest=kind).way for kind in kinds[::2])
    assert unknown == (Way.PYGRUB_PV, Way.HVM)


def test_a_kind_of_guest_without_a_disk(kernels: Path, of: Of) -> None:
    direct: dict[Kind, Way] = {"pv": Way.PV_DIRECT, "pvh": Way.PVH}
    for kind, way in direct.items():
        assert subject(kernels / "hello.xen", target=None, way=None, memory=None, guest=kind).way is way
    folder = of("hello-pvh.xen", "qubes")
    with unwrapped(folder, None) as raw:
        assert subject(folder, target=None, way=None, memory=None, raw=raw, guest="pvh").way is Way.PVH
        with pytest.raises(UsageError, match=NO_DISK.format("hvm")):
            subject(folder, target=None, way=None, memory=None, raw=raw, guest="hvm")
