"""OpenStack on Xen: the `ovf` .tgz of a VHD where XenServer runs guests, a raw disk where libxl does.

Nova unpacks the .tgz, whichever way it fetches images (openstack/os-xenapi: the plugin glance.py in dom0, and
client/image/vdi_handler.py); a plain VHD is for clouds that say they take one. A guest of vm_mode=xen is PV and
boots by pygrub, under both: openstack/nova 21, nova/virt/xenapi/vm_utils.py (`create_vm`) and
nova/virt/libvirt/driver.py. The size is a multiple of 2 MiB, as a VHD's is.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from imagekit.errors import UnsuitedError
from imagekit.formats import ovf, vhd
from imagekit.guests import Ways, check_readable, refusal_of
from imagekit.kernel import KernelFacts, Refusal, Way
from imagekit.plan import Input, Json, Output, Step
from imagekit.recipe import Image
from imagekit.stages import Job, disk_step, output, root_step
from imagekit.targets.xcp import write_vhd

SUMMARY = "OpenStack on Xen: .tgz of a VHD (ovf), raw disk or VHD for Glance"
EXTENSION = ".tgz"
PUBLISHER = "imagekit.publish.openstack.private:publish"
KEEPER = "imagekit.publish.openstack.undo:Keeper"

_UNIT = vhd.BLOCK
_ENDINGS = {"ovf": ".tgz", "vhd": ".vhd", "raw": ".raw"}


def extension(image: Image) -> str:
    """Return the main file's ending, by its format."""
    return _ENDINGS[image.openstack.format]


def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
    """Tell why pygrub cannot boot this kernel as a PV guest."""
    return refusal_of(facts, image, WAYS, "OpenStack")


def plan(job: Job) -> Output:
    """Plan the disk, and what wraps it."""
    kind = job.image.openstack.format
    disk = pv_disk(job)
    if kind == "raw":
        return output(job, "openstack", disk, {}, BOOT)
    run = write_ovf if kind == "ovf" else write_vhd
    wrapping = Step(kind, run, {"disk": disk}, {"epoch": job.epoch})
    return output(job, "openstack", disk, {}, BOOT, wrapping=wrapping)


WAYS: Ways = {"pv": Way.PYGRUB_PV}
"""The guests of a cloud that starts no others."""

BOOT: Mapping[str, Json] = {"guest": "pv", "way": Way.PYGRUB_PV.value}
"""How such a disk boots, for its sidecar."""


def pv_disk(job: Job) -> Step:
    """Return the step of a disk for pygrub that a VHD can hold; UnsuitedError for a size that is none."""
    check_readable(job.image, Way.PYGRUB_PV)
    size = job.image.disk.size
    if size is not None and (size % _UNIT or not 0 < size <= vhd.LARGEST):
        raise UnsuitedError(
            "a VHD's disk is a multiple of 2 MiB, 2040 GiB at most",
            details=f"disk.size is {size} bytes",
            hint=f'disk.size = "{max(1, -(-size // _UNIT)) * 2}MiB", or "auto"',
        )
    return disk_step(job, root_step(job, "pv"), unit=_UNIT)


def write_ovf(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Wrap the disk into a gzipped tar of its VHD. A step function."""
    disk, epoch = inputs["disk"], options["epoch"]
    assert isinstance(epoch, int)  # noqa: S101 -- `plan` wrote it
    made = vhd.layout(disk.blocks(), epoch)
    with disk.path.open("rb") as image, out.open("wb") as file:
        for piece in ovf.pieces(made, lambda offset, length: os.pread(image.fileno(), length, offset)):
            file.write(piece)
