"""Xen Cloud Platform, XenServer, XCP-ng: a disk as VHD or raw for a VDI, or a whole VM as XVA.

A VM boots by pygrub, which xapi runs in dom0 on the disk, or by a kernel file in dom0 (`xcp.loader = "direct"`).
The disk is a multiple of 2 MiB, as a VHD's is: a GPT's second header stays at the end.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from imagekit.errors import UnsuitedError
from imagekit.formats import vhd, xva
from imagekit.formats.xapi import Appliance, Interface, Kind
from imagekit.guests import HOST, check_readable, choose, host_refusal
from imagekit.kernel import KernelFacts, Refusal
from imagekit.plan import Input, Json, Output, Step
from imagekit.recipe import Image, Xcp
from imagekit.stages import Guest, Job, copy_step, core_step, disk_step, output, root_step, settled

SUMMARY = "Xen Cloud Platform, XenServer, XCP-ng: VHD, raw disk or XVA"
EXTENSION = ".vhd"
PUBLISHER = "imagekit.publish.xapi.publication:publish"
KEEPER = "imagekit.publish.xapi.undo:Keeper"
WAYS = HOST["pygrub"]

_UNIT = vhd.BLOCK


def extension(image: Image) -> str:
    """Return the main file's ending, by its format."""
    return f".{image.xcp.format}"


def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
    """Tell why none of the guest types that the image allows boots this kernel."""
    return host_refusal(facts, image, "xcp", "XenServer")


def plan(job: Job) -> Output:
    """Plan the disk, and what wraps it; OUT.xen, the kernel, for `direct`."""
    image = job.image
    _check(image)
    loader = image.xcp.loader
    choice = choose(job.facts, image, HOST[loader])
    check_readable(image, choice.way)
    job = settled(job, choice.guest)
    disk = disk_step(job, root_step(job, choice.guest), core=core_step(job, choice.guest), unit=_UNIT)
    machine = machine_options(image, job.name)
    boot: dict[str, Json] = {**choice.to_json(), "machine": machine}
    companions = {".xen": copy_step("kernel-file", job.kernel)} if loader == "direct" else {}
    if image.xcp.format == "raw":
        return output(job, "xcp", disk, companions, boot)
    options: dict[str, Json] = {"epoch": job.epoch}
    run = write_vhd
    if image.xcp.format == "xva":
        run = write_xva
        options = {"guest": choice.guest, "packing": image.xcp.packing, **machine}
    return output(
        job, "xcp", disk, companions, boot, wrapping=Step(image.xcp.format, run, {"disk": disk}, options)
    )


def machine_options(image: Image, name: str) -> dict[str, Json]:
    """Return what a recipe says of the VM, as data."""
    settings: Xcp = image.xcp
    return {
        "name": name,
        "memory": image.memory,
        "vcpus": image.vcpus,
        "description": settings.description,
        "platform": dict(settings.platform),
        "tags": list(settings.tags),
        "interfaces": [one.model_dump(exclude_none=True) for one in settings.vif],
    }


def appliance(options: Mapping[str, Json], guest: Kind, kernel: str = "", cmdline: str = "") -> Appliance:
    """Return the VM of such data; with a kernel in dom0 it boots by that, else by pygrub or its BIOS."""
    interfaces = cast("list[dict[str, str]]", options["interfaces"])
    return Appliance(
        name=cast("str", options["name"]),
        memory=cast("int", options["memory"]),
        vcpus=cast("int", options["vcpus"]),
        description=cast("str", options["description"]),
        kind=guest,
        bootloader="" if kernel or guest == "hvm" else "pygrub",
        kernel=kernel,
        cmdline=cmdline,
        interfaces=tuple(Interface(**one) for one in interfaces),  # type: ignore[arg-type]
        platform=cast("Mapping[str, str]", options["platform"]),
        tags=tuple(cast("list[str]", options["tags"])),
    )


def write_vhd(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Wrap the disk into a dynamic VHD. A step function."""
    disk = inputs["disk"]
    made = vhd.layout(disk.blocks(), cast("int", options["epoch"]))
    with disk.path.open("rb") as image, out.open("wb") as file:
        vhd.write_file(made, image.fileno(), disk.blocks().length, file.fileno())


def write_xva(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Wrap the disk into an XVA. A step function."""
    disk, packing = inputs["disk"], cast("str", options["packing"])
    archive = xva.archive(appliance(options, cast("Guest", options["guest"])), disk.blocks())
    with disk.path.open("rb") as image, out.open("wb") as file:

        def read_at(offset: int, length: int) -> bytes:
            return os.pread(image.fileno(), length, offset)

        pieces = archive.pieces(read_at)
        if packing != "none":
            pieces = archive.packed(read_at, cast("xva.Packing", packing))
        for piece in pieces:
            file.write(piece)


def _check(image: Image) -> None:
    """UnsuitedError for settings that no VDI can have, and no XVA."""
    size = image.disk.size
    if size is not None and size % _UNIT:
        raise UnsuitedError(
            "a VDI of XenServer's is a multiple of 2 MiB",
            details=f"disk.size is {size} bytes",
            hint=f'disk.size = "{-(-size // _UNIT) * 2}MiB", or "auto"',
        )
    if size is not None and size > vhd.LARGEST:
        raise UnsuitedError("a VDI is 2040 GiB at most", details=f"disk.size is {size} bytes")
    if image.xcp.loader == "direct" and image.xcp.format == "xva":
        raise UnsuitedError("an XVA brings no kernel to dom0", hint='xcp.loader = "pygrub", or xcp.format = "vhd"')
    if image.xcp.loader == "direct" and image.ramdisk:
        raise UnsuitedError("xcp.loader = direct takes no ramdisk", hint='xcp.loader = "pygrub" takes it')
