"""An XVA without a sidecar: its VM is of a kind that its disk boots."""

from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.convert import convert
from imagekit.errors import VerificationError
from imagekit.formats.xapi import Appliance, Kind
from imagekit.unwrap import Form
from imagekit.verify import verify
from tests.verify.lie import Built

KINDS = [("pv", "hello.xen", {}), ("pvh", "hello-pvh.xen", {}), ("hvm", "hello-pvh.xen", {"boot": "hvm"})]


def wrapped(disk: Path, kind: Kind) -> Path:
    """Return an XVA of a disk whose VM is of a kind, whatever the disk is for."""
    out = disk.with_name("app.xva")
    machine = replace(Appliance(name="app", memory=64 << 20), kind=kind)
    convert(disk, out, Form.XVA, machine=machine)
    return out


@pytest.mark.parametrize("kind, kernel, more", KINDS)
def test_what_is_true(artifact: Built, kind: Kind, kernel: str, more: dict[str, object]) -> None:
    image = wrapped(artifact(target="xcp", kernel=kernel, xcp__format="raw", **more).main, kind)
    assert "kernel" in [check.name for check in verify(image, target="xcp")]


@pytest.mark.parametrize(
    "made, kind, words",
    [
        (2, "pv", "pygrub finds no kernel"),
        (2, "pvh", "pygrub finds no kernel"),
        (0, "hvm", "the boot sector, or what it loads, is not GRUB's"),
        (0, "pvh", "the kernel cannot boot on xcp: it has no entry for PVH"),
        (1, "pv", "the kernel cannot boot on xcp: it has no entry for PV"),
    ],
)
def test_a_vm_that_the_disk_does_not_boot(artifact: Built, made: int, kind: Kind, words: str) -> None:
    _, kernel, more = KINDS[made]
    image = wrapped(artifact(target="xcp", kernel=kernel, xcp__format="raw", **more).main, kind)
    with pytest.raises(VerificationError, match=words):
        list(verify(image, target="xcp"))


def test_a_vm_that_is_not_the_sidecar_s(artifact: Built) -> None:
    lie = artifact(target="xcp", kernel="hello-pvh.xen", xcp__format="xva", boot="hvm")
    lie.tell("boot.guest", "pvh")
    lie.tell("boot.way", "pvh-pygrub")
    with pytest.raises(VerificationError, match="the XVA's VM is hvm"):
        list(verify(lie.main))
