"""Amazon EC2, EBS: a raw image of whole GiB, and the list of its blocks that are not empty, for the direct APIs.

A PV kernel boots by PV-GRUB (GRUB 0.97 on Mini-OS) as a PV guest: Amazon EC2 User Guide, "Use your own Linux
kernel". It reads /boot/grub/menu.lst of (hd0) or (hd0,0), on ext2, ext3 or ext4 among others, never on FAT. There
are no PVH guests: other kernels boot in an HVM guest, whose BIOS starts what is in the volume's boot sector.
"""

from imagekit.disk import around
from imagekit.errors import UnsuitedError
from imagekit.guests import Ways, check_readable, choose, refusal_of
from imagekit.kernel import KernelFacts, Refusal, Way
from imagekit.plan import Output
from imagekit.recipe import Image
from imagekit.stages import Job, core_step, disk_step, output, root_step, settled

SUMMARY = "Amazon EC2, EBS: raw image of whole GiB for a volume (PV-GRUB or HVM), its block list in the sidecar"
EXTENSION = ".ebs"
PUBLISHER = "imagekit.publish.aws.ebs:publish"
KEEPER = "imagekit.publish.aws.undo:Keeper"

_GIB = 1 << 30
WAYS: Ways = {"pv": Way.PV_GRUB, "hvm": Way.HVM}
_LARGEST = 65536 * _GIB  # StartSnapshot's VolumeSize


def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
    """Tell why neither PV-GRUB nor GRUB in the boot sector can boot this kernel."""
    return refusal_of(facts, image, WAYS, "EC2")


def plan(job: Job) -> Output:
    """Plan the raw image; the block list is in its sidecar."""
    image = job.image
    choice = choose(job.facts, image, WAYS)
    check_readable(image, choice.way)
    job = settled(job, choice.guest)
    size = image.disk.size
    if size is not None and (size % _GIB or not 0 < size <= _LARGEST):
        raise UnsuitedError(
            "an EBS volume is a whole number of GiB, 65536 at most",
            details=f"disk.size is {size} bytes",
            hint=f'disk.size = "{_fitting(job.image)}GiB", or "auto"',
        )
    disk = disk_step(job, root_step(job, choice.guest), core=core_step(job, choice.guest), unit=_GIB)
    return output(job, "ebs", disk, {}, choice.to_json(), blocks=True)


def _fitting(image: Image) -> int:
    """Return the nearest number of GiB, from what was asked for upwards, that is a volume with room for it all."""
    filesystem = around(image.disk.table) + image.disk.boot + (image.filesystem.size or 0)
    wanted = -(-max(image.disk.size or 0, filesystem, 1) // _GIB)
    return min(wanted, _LARGEST // _GIB)
