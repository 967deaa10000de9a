"""Rackspace's public cloud as it ran Xen: a dynamic VHD as XenServer's own tools write it, for an import task.

Rackspace Knowledge Center, "Preparing an image for import into the Rackspace open cloud": a plain dynamic VHD of
40 GB at most, whose disk fits a system disk, 160 GB. Guests are PV and boot by pygrub.
"""

from imagekit.errors import UnsuitedError
from imagekit.guests import refusal_of
from imagekit.kernel import KernelFacts, Refusal
from imagekit.plan import Output, Step
from imagekit.recipe import Image
from imagekit.stages import Job, output
from imagekit.targets.openstack import BOOT, WAYS, pv_disk
from imagekit.targets.xcp import write_vhd

SUMMARY = "Rackspace's cloud on Xen: VHD for its image import"
EXTENSION = ".vhd"
PUBLISHER = "imagekit.publish.openstack.rackspace:publish"
KEEPER = "imagekit.publish.openstack.undo:Keeper"

LARGEST_FILE = 40 * 10**9
"""Bytes of a VHD that the import takes."""
LARGEST_DISK = 160 * 10**9
"""Bytes of the largest system disk."""


def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
    """Tell why pygrub cannot boot this kernel as a PV guest."""
    return refusal_of(facts, image, WAYS, "Rackspace")


def plan(job: Job) -> Output:
    """Plan the disk and its VHD."""
    size = job.image.disk.size
    if size is not None and size > LARGEST_DISK:
        raise UnsuitedError(
            "Rackspace's system disks have 160 GB at most",
            details=f"disk.size is {size} bytes",
            hint='disk.size = "auto" takes what the content needs',
        )
    disk = pv_disk(job)
    wrapping = Step("vhd", write_vhd, {"disk": disk}, {"epoch": job.epoch})
    return output(job, "rackspace", disk, {}, BOOT, wrapping=wrapping)
