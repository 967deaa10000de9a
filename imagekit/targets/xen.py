"""Open-source Xen: a raw disk image and the configurations that start it, for xl, for xm and for libvirt."""

from contextlib import suppress
from pathlib import PurePosixPath

from imagekit.errors import RecipeError, UnsuitedError
from imagekit.formats.domain import Disk, Domain, Vif
from imagekit.formats.libvirt import domain_xml
from imagekit.formats.xl import xl_cfg, xm_cfg
from imagekit.kernel import KernelFacts, Refusal, Way, why_not
from imagekit.plan import Output, Step
from imagekit.recipe import MIB, Image
from imagekit.stages import Guest, Job, copy_step, disk_step, output, root_step, text_step

SUMMARY = "open-source Xen: raw image, xl.cfg (and the older xm form), libvirt XML"
EXTENSION = ".raw"
PUBLISHER = "imagekit.publish.ssh.xen:publish"
KEEPER = "imagekit.publish.ssh.keeper:Keeper"

_IMAGES = PurePosixPath("/var/lib/xen/images")
_WAYS = {
    ("pv", "pygrub"): Way.PYGRUB_PV,
    ("pv", "direct"): Way.PV_DIRECT,
    ("pvh", "pygrub"): Way.PVH_PYGRUB,
    ("pvh", "direct"): Way.PVH,
}


def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
    """Tell why neither of the guest types that the image allows boots this kernel."""
    refusals = [why_not(facts, _WAYS[guest, image.xen.loader]) for guest in _guests(image)]
    return None if None in refusals else _telling(facts, [item for item in refusals if item is not None])


def plan(job: Job) -> Output:
    """Plan the raw image, OUT.cfg, OUT.xm.cfg (PV, where xm can say it), OUT.xml; OUT.xen for `direct`."""
    image = job.image
    guest = next(guest for guest in _guests(image) if why_not(job.facts, _WAYS[guest, image.xen.loader]) is None)
    domain = _domain(job, guest)
    companions: dict[str, Step] = {
        ".cfg": text_step("xl.cfg", xl_cfg(domain)),
        ".xml": text_step("libvirt.xml", domain_xml(domain)),
    }
    if guest == "pv":
        # xm's Python syntax and commas cannot say all that xl can: then there is no form for it.
        with suppress(RecipeError):
            companions[".xm.cfg"] = text_step("xm.cfg", xm_cfg(domain))
    if image.xen.loader == "direct":
        companions[".xen"] = copy_step("kernel-file", job.kernel)
    disk = disk_step(job, root_step(job, guest))
    boot = {"guest": guest, "way": _WAYS[guest, image.xen.loader].value, "path": domain.disks[0].path}
    return output(job, "xen", disk, companions, boot)


def _guests(image: Image) -> tuple[Guest, ...]:
    return ("pv", "pvh") if image.boot == "auto" else (image.boot,)


def _telling(facts: KernelFacts, refusals: list[Refusal]) -> Refusal:
    """Of two refusals, that of the kind which the kernel has an entry for."""
    telling = (item for item in refusals if facts.kind in {"none", "both"} or facts.kind.value in item.way.value)
    return next(telling, refusals[0])


def _domain(job: Job, guest: Guest) -> Domain:
    image = job.image
    direct = image.xen.loader == "direct"
    if direct and image.ramdisk:
        raise UnsuitedError(
            "xen.loader = direct takes no ramdisk", hint='xen.loader = "pygrub" takes it from the disk'
        )
    main = Disk(path=image.disk.path or str(_IMAGES / f"{job.name}.xen{EXTENSION}"))
    extra = [
        Disk(path=disk.path, vdev=disk.vdev, access=disk.access, format=disk.format) for disk in image.extra_disk
    ]
    return Domain(
        name=job.name,
        kind=guest,
        memory=image.memory // MIB,
        vcpus=image.vcpus,
        disks=(main, *extra),
        vifs=tuple(Vif(bridge=vif.bridge, mac=vif.mac, ip=vif.ip, script=vif.script) for vif in image.vif),
        kernel=(image.xen.kernel_path or str(_IMAGES / f"{job.name}.xen")) if direct else None,
        # pygrub takes the command line from the menu on the disk, and would add this one behind it.
        cmdline=image.cmdline if direct else "",
    )
