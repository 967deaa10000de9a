"""Qubes OS: a kernel's folder for dom0, or a template's root volume, and the commands that make a qube of it.

A kernel in dom0 is started by Xen's own domain builder, as PVH, or as PV where it has no entry for PVH: PV is what
Qubes advises against. A root volume boots by Qubes' GRUB for PVH, which reads /boot/grub/grub.cfg and starts what
`multiboot` names (QubesOS/qubes-linux-pvgrub2, grub-xen.cfg).
"""

import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, cast

from imagekit.errors import UnsuitedError
from imagekit.formats import qvm, vm_kernel
from imagekit.guests import Ways, choose, refusal_of
from imagekit.kernel import KernelFacts, Refusal, Way
from imagekit.plan import Input, Json, Output, Source, Step
from imagekit.recipe import MIB, Image
from imagekit.stages import Job, disk_step, kernel_output, output, root_step

SUMMARY = "Qubes OS: tar of a kernel's folder for dom0, or a template's root volume"
EXTENSION = ".tar"
BY_HAND = "dom0 has no network: the commands for it are in {out}.readme.txt"

WAYS: Ways = {"pvh": Way.PVH, "pv": Way.PV_DIRECT}
TEMPLATE: Ways = {"pvh": Way.MULTIBOOT}
"""Those of a template, whose kernel is on its root volume."""
_WAYS: Mapping[str, Ways] = {"kernel": WAYS, "template": TEMPLATE}
_KERNEL = "/boot/kernel"
"""Where Qubes' own builder puts a unikernel in a template."""
_VOLUME = ".img"
README = ".readme.txt"
"""The suffix of the companion that tells the commands."""


def extension(image: Image) -> str:
    """Return the main file's ending, by its format."""
    return EXTENSION if image.qubes.format == "kernel" else _VOLUME


def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
    """Tell why no qube that the image allows boots this kernel."""
    form = image.qubes.format
    other = "template" if form == "kernel" else "kernel"
    found = refusal_of(facts, image, _WAYS[form], f"the target qubes, with the format {form},")
    if found is None or refusal_of(facts, image, _WAYS[other], ""):
        return found
    words = [*filter(None, [found.missing]), f'qubes.format = "{other}"']
    return replace(found, missing="; or ".join(words))


def plan(job: Job) -> Output:
    """Plan the tar of a kernel's folder or a root volume, and the commands; UnsuitedError for what has no room."""
    _check_devices(job.image)
    qube = _qube(job)
    return _kernel(job, qube) if job.image.qubes.format == "kernel" else _template(job, qube)


def _kernel(job: Job, qube: qvm.Qube) -> Output:
    """Plan the tar: a kernel in dom0 comes without a root."""
    image = job.image
    if image.root.source is not None or image.root.files:
        raise UnsuitedError(
            "a kernel for Qubes' dom0 has no root file system",
            hint='qubes.format = "template" makes one; without root.files and root.from the kernel is all',
        )
    _check_no_disk(image)
    qvm.check_kernelopts(image.cmdline)
    inputs: dict[str, Source | Step] = {"kernel": job.kernel}
    if image.ramdisk:
        inputs["ramdisk"] = Source(image.ramdisk)
    tar = Step("vm-kernel", write_folder, inputs, {"name": qube.name, "epoch": job.epoch})
    companions = {README: _readme(job, qube, tar)}
    return kernel_output(job, "qubes", tar, f"/{qube.name}/{vm_kernel.VMLINUZ}", companions, _boot(job))


def _check_no_disk(image: Image) -> None:
    """UnsuitedError for settings of a disk: in dom0's format there is none."""
    said = [
        f"{table}.{name}"
        for table, fields in (("disk", image.disk), ("filesystem", image.filesystem))
        for name, default in type(fields)()
        if getattr(fields, name) != default
    ]
    if said:
        raise UnsuitedError(
            f"a kernel for Qubes' dom0 has no disk, and no {' and '.join(said)}",
            hint='qubes.format = "template" makes a root volume; without these settings the kernel is all',
        )


def _check_devices(image: Image) -> None:
    """UnsuitedError for devices in a host's words, which no qube has."""
    if image.vif:
        raise UnsuitedError("a qube has no vif", hint="qubes.netvm says where its network comes from")
    if image.extra_disk:
        raise UnsuitedError("a qube has no extra_disk", hint="qvm-block attaches one in dom0")


def _template(job: Job, qube: qvm.Qube) -> Output:
    """Plan the root volume of a template."""
    image = job.image
    if image.root.kernel is None and job.boot is None:
        root = image.root.model_copy(update={"kernel": _KERNEL})
        job = replace(job, image=image.model_copy(update={"root": root}))
    disk = disk_step(job, root_step(job, "pvh", by_grub=True))
    return output(job, "qubes", disk, {README: _readme(job, qube, disk)}, _boot(job))


def _readme(job: Job, qube: qvm.Qube, main: Step) -> Step:
    """Return the step that writes the commands, which name the main file as it is called where it goes."""
    qvm.check_file(job.out.name)
    told: dict[str, Json] = {"qube": asdict(qube), "file": job.out.name, "format": job.image.qubes.format}
    return Step("readme", write_readme, {"main": main}, told)


def _boot(job: Job) -> dict[str, Json]:
    return choose(job.facts, job.image, _WAYS[job.image.qubes.format]).to_json()


def write_folder(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Write the tar of a kernel's folder. A step function."""
    places = {vm_kernel.VMLINUZ: inputs["kernel"].path}
    if "ramdisk" in inputs:
        places[vm_kernel.INITRAMFS] = inputs["ramdisk"].path
    with ExitStack() as stack:
        files = {name: stack.enter_context(path.open("rb")) for name, path in places.items()}
        with out.open("wb") as file:
            vm_kernel.pack(cast("str", options["name"]), files, file, cast("int", options["epoch"]))


def write_readme(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Write the commands for dom0. A step function."""
    qube = qvm.Qube(**cast("dict[str, Json]", options["qube"]))  # type: ignore[arg-type]
    text = qvm.of_kernel if options["format"] == "kernel" else qvm.of_template
    with inputs["main"].path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    out.write_text(text(qube, cast("str", options["file"]), digest))


def _qube(job: Job) -> qvm.Qube:
    """Return the qube of the recipe; UnsuitedError for a name that none may have."""
    image, settings = job.image, job.image.qubes
    name = settings.name or job.name
    qvm.check_name(name)
    return qvm.Qube(
        name=name,
        mode=cast("Literal['pv', 'pvh']", _boot(job)["guest"]),
        kernel=name if settings.format == "kernel" else qvm.PVH_GRUB,
        memory=image.memory // MIB,
        vcpus=image.vcpus,
        kernelopts=image.cmdline,
        label=settings.label,
        netvm=settings.netvm,
        provides_network=settings.provides_network,
        features=dict(settings.features),
    )
