"""Open-source Xen: a raw disk image and the configurations that start it, for xl, for xm and for libvirt."""

from contextlib import suppress
from pathlib import PurePosixPath

from imagekit.errors import RecipeError, UnsuitedError
from imagekit.formats.domain import Disk, Domain, Vif
from imagekit.formats.libvirt import domain_xml
from imagekit.formats.xl import xl_cfg, xm_cfg
from imagekit.guests import HOST, check_readable, choose, host_refusal
from imagekit.kernel import KernelFacts, Refusal
from imagekit.plan import Output, Step
from imagekit.recipe import MIB, Image
from imagekit.stages import Guest, Job, copy_step, core_step, disk_step, output, root_step, settled, text_step

SUMMARY = "open-source Xen: raw image, xl.cfg (and the older xm form), libvirt XML"
EXTENSION = ".raw"
PUBLISHER = "imagekit.publish.ssh.xen:publish"
KEEPER = "imagekit.publish.ssh.keeper:Keeper"
WAYS = HOST["pygrub"]

_IMAGES = PurePosixPath("/var/lib/xen/images")


def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
    """Tell why none of the guest types that the image allows boots this kernel."""
    return host_refusal(facts, image, "xen", "open-source Xen")


def plan(job: Job) -> Output:
    """Plan the raw image, OUT.cfg, OUT.xm.cfg (where xm can say it), OUT.xml; OUT.xen for `direct`."""
    image = job.image
    choice = choose(job.facts, image, HOST[image.xen.loader])
    check_readable(image, choice.way)
    job = settled(job, choice.guest)
    domain = _domain(job, choice.guest)
    companions: dict[str, Step] = {
        ".cfg": text_step("xl.cfg", xl_cfg(domain)),
        ".xml": text_step("libvirt.xml", domain_xml(domain)),
    }
    if choice.guest != "pvh":
        # xm's Python syntax and commas cannot say all that xl can: then there is no form for it.
        with suppress(RecipeError):
            companions[".xm.cfg"] = text_step("xm.cfg", xm_cfg(domain))
    if image.xen.loader == "direct":
        companions[".xen"] = copy_step("kernel-file", job.kernel)
    disk = disk_step(job, root_step(job, choice.guest), core=core_step(job, choice.guest))
    boot = {**choice.to_json(), "path": domain.disks[0].path}
    return output(job, "xen", disk, companions, boot)


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
