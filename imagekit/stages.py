"""The steps that every target shares: kernel → facts, root, disk, and the sidecar at the end."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from imagekit.artifact import SUFFIX
from imagekit.boot import BootEntry, boot_files
from imagekit.disk import grub_modules, write_core, write_disk
from imagekit.errors import RecipeError, UnsuitedError
from imagekit.filesystem import by_guestfs, tools
from imagekit.formats.domain import CMDLINE_LIMIT
from imagekit.kernel import KernelFacts, grub_command, read_kernel, write_repacked
from imagekit.plan import Input, Json, Output, Source, Step
from imagekit.recipe import MBR_LARGEST, MIB, Image
from imagekit.root import Boot, System, brought, introduction, write_boot, write_kernel, write_root
from imagekit.sidecar import write_sidecar

Guest = Literal["pv", "pvh", "hvm"]

WORDS = "ro console=hvc0"
"""What a system of `root.from` boots with beside its root, where the recipe says nothing."""
_SERIAL = "console=ttyS0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a target is asked to plan: one image, its kernel and the kernel's facts, where the artifact goes.

    `epoch` is the time of everything in the image, in seconds since 1970; `boot` what the tree of `root.from`
    boots, where the kernel comes out of that; `system` is that tree; `repacked` tells that the kernel is no longer
    as its maker packed it.
    """

    image: Image
    kernel: Source | Step
    facts: KernelFacts
    out: Path
    epoch: int
    boot: Boot | None = None
    system: System | None = None
    repacked: bool = False

    @property
    def name(self) -> str:
        """The image's name, which `imagekit.recipe` gave to all of them."""
        return cast("str", self.image.name)

    @property
    def kernel_path(self) -> str:
        """The kernel's path in the image: a tree's own stays where it is, what is repacked lies beside it."""
        beside = f"/boot/{self.name}.xen"
        if self.boot is None:
            return self.image.root.kernel or beside
        return beside if self.repacked else self.boot.kernel

    @property
    def brings_kernel(self) -> bool:
        """Whether the kernel has to be put into the tree."""
        return self.boot is None or self.repacked


def settled(job: Job, guest: Guest) -> Job:
    """Return the job with what the kind of guest decides, where the recipe leaves it open.

    An HVM guest's BIOS starts a boot sector, and GRUB's core lies between that and the first partition: the layout
    is mbr. Its host shows its serial port: a system says there, too, what it says. UnsuitedError for a layout
    without such a place.
    """
    image = job.image
    if guest != "hvm":
        return job
    if image.disk.layout not in {"auto", "mbr"}:
        raise UnsuitedError(
            f"an HVM guest's BIOS boots no disk of the layout {image.disk.layout}",
            hint='disk.layout = "mbr", or "auto": GRUB lies before its first partition',
        )
    for table, size in (("disk", image.disk.size), ("filesystem", image.filesystem.size)):
        if size is not None and size > MBR_LARGEST:
            raise UnsuitedError(
                "an HVM guest's BIOS boots a disk of 2 TiB at most",
                details=f"{table}.size is {size} bytes",
                hint='disk.size = "2TiB", or less, or "auto"; or another kind of guest',
            )
    cmdline = image.cmdline
    if image.disk.table == "plain":
        # What finds its root by the device alone finds it on the partition that there now is.
        cmdline = re.sub(r"(?<!\S)root=/dev/xvda(?!\S)", "root=/dev/xvda1", cmdline)
    if cmdline.endswith(WORDS) and job.boot is not None:
        cmdline = f"{cmdline} {_SERIAL}"
    disk = image.disk.model_copy(update={"layout": "mbr"})
    return replace(job, image=image.model_copy(update={"disk": disk, "cmdline": cmdline}))


def boot_step(image: Image, epoch: int, tree: System) -> Step:
    """Return the step that finds what the tree of `root.from` boots."""
    options: dict[str, Json] = {"kernel": image.root.kernel, "tree": tree.item, "epoch": epoch}
    return Step("boot", write_boot, tree.inputs, options)


def kernel_step(boot: Step) -> Step:
    """Return the step that takes the kernel out of what was found."""
    return Step("kernel-file", write_kernel, {"boot": boot})


def repack_step(kernel: Source | Step) -> Step:
    """Return the step that takes a bzImage's ELF file and packs it as every loader unpacks it."""
    return Step("repack", write_repacked, {"kernel": kernel}, tools=("zlib",))


def facts_step(kernel: Source | Step) -> Step:
    """Return the step that reads a kernel's facts, as JSON."""
    return Step("kernel", write_facts, {"kernel": kernel})


def write_facts(inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    """Write a kernel's facts. A step function."""
    out.write_text(json.dumps(read_kernel(inputs["kernel"].path).to_json(), sort_keys=True))


def read_facts(path: Path) -> KernelFacts:
    """Return the facts that `write_facts` wrote."""
    return KernelFacts.from_json(json.loads(path.read_bytes()))


def root_step(job: Job, guest: Guest, *, by_grub: bool = False) -> Step:
    """Return the step that writes the root tar: kernel, boot files for this kind of guest, the user's files.

    `by_grub` tells that a PVH guest's kernel is started by GRUB, which the host brings.
    """
    image = job.image
    if len(image.cmdline.encode()) > CMDLINE_LIMIT:
        raise RecipeError(f"the command line is longer than {CMDLINE_LIMIT} bytes: Xen cuts the rest off")
    ramdisk = f"/boot/{job.name}.ramdisk" if image.ramdisk else None
    of_tree = job.boot.ramdisk if job.boot is not None else None
    entry = BootEntry(
        title=job.name,
        kernel=job.kernel_path,
        cmdline=image.cmdline,
        ramdisk=ramdisk or of_tree,
        partition=None if image.disk.table == "plain" else 0,
        pv=guest == "pv",
        command=grub_command(job.facts) if guest == "hvm" or by_grub else None,
        legacy=by_grub,
    )
    base = job.system
    files, items = brought(image)
    keys, first_boot = introduction(image)
    options: dict[str, Json] = {
        "kernel": job.kernel_path if job.brings_kernel else None,
        "ramdisk": ramdisk,
        "files": dict(boot_files(entry)),
        "trees": [*([{**base.item, "base": "yes"}] if base else []), *([] if image.root.run else items)],
        **({"first_boot": first_boot} if base else {}),
        "epoch": job.epoch,
    }
    inputs: dict[str, Source | Step] = {"kernel": job.kernel} if job.brings_kernel else {}
    inputs |= {**base.inputs, **keys} if base else {}
    inputs |= {} if image.root.run else files
    if image.ramdisk:
        inputs["ramdisk"] = Source(image.ramdisk)
    return Step("root", write_root, inputs, options, revision=3)


def core_step(job: Job, guest: Guest) -> Step | None:
    """Return the step that writes GRUB's boot sector and core for an HVM guest; None for other guests.

    The job is settled.
    """
    if guest != "hvm":
        return None
    image = job.image
    kind = "ext2" if image.disk.boot else image.filesystem.type
    names = grub_modules(kind, grub_command(job.facts), packed=bool(job.facts.compression))
    return Step(
        "grub-core",
        write_core,
        {},
        {"modules": list(names)},
        revision=2,
        tools=("grub",),
        needs=("grub",),
    )


def disk_step(job: Job, root: Step, *, unit: int = MIB, core: Step | None = None) -> Step:
    """Return the step that writes the raw disk image, its size a multiple of `unit` bytes.

    `core` is what its BIOS starts, where one does.
    """
    image = job.image
    _check_boot(job)
    options: dict[str, Json] = {
        "layout": image.disk.table,
        "disk_size": image.disk.size,
        "filesystem_size": image.filesystem.size,
        "unit": unit,
        "free": image.filesystem.free,
        "type": image.filesystem.type,
        "label": image.filesystem.label,
        "block_size": image.filesystem.block_size,
        "epoch": job.epoch,
        **_around(image),
    }
    guestfs = by_guestfs(image.filesystem.type, image.filesystem.maker, lvm=image.disk.lvm is not None)
    if guestfs:
        options["guestfs"] = True
    inputs: dict[str, Source | Step] = {"root": root}
    inputs |= {name: source for name, source in root.inputs.items() if name.startswith("files-")}
    inputs |= {"core": core} if core is not None else {}
    needs = tools(image.filesystem.type, guestfs=guestfs)
    needs += tools("ext2") if guestfs and image.disk.boot else ()
    needs += () if image.disk.table == "plain" else ("libparted",)
    qemu = ("qemu",) if guestfs else ()
    return Step("disk", write_disk, inputs, options, revision=2, tools=needs, needs=qemu)


def _around(image: Image) -> dict[str, Json]:
    """Return what lies around the root's file system, as options that are there only when wanted."""
    found: dict[str, Json] = {"boot_size": image.disk.boot} if image.disk.boot else {}
    return found | ({"lvm": image.disk.lvm.model_dump()} if image.disk.lvm else {})


def _check_boot(job: Job) -> None:
    """RecipeError for a kernel or a ramdisk that a boot partition would not hold."""
    ramdisk = job.boot.ramdisk if job.boot is not None else None
    for path in filter(None, (job.kernel_path, ramdisk)):
        if job.image.disk.boot and not path.startswith("/boot/"):
            raise RecipeError(
                f"{path} is not in /boot, and a loader is to find it on the boot partition",
                hint=f'root.kernel = "/boot/{path.rpartition("/")[2]}", or no disk.boot',
            )


def text_step(name: str, text: str) -> Step:
    """Return a step that writes a text which the plan already knows."""
    return Step(name, write_text, {}, {"text": text})


def write_text(_inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Write a text. A step function."""
    out.write_text(cast("str", options["text"]))


def copy_step(name: str, source: Source | Step) -> Step:
    """Return a step that takes a file as it is."""
    return Step(name, write_copy, {"file": source})


def write_copy(inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    """Copy a file. A step function."""
    out.write_bytes(inputs["file"].path.read_bytes())


def output(
    job: Job,
    target: str,
    disk: Step,
    companions: Mapping[str, Step],
    boot: Mapping[str, Json],
    *,
    blocks: bool = False,
    wrapping: Step | None = None,
) -> Output:
    """Return the artifact: the disk as its main file, the companions, and the sidecar that describes them.

    `boot` says how the target boots it; `blocks` puts the block list into the sidecar. With a `wrapping` that step
    makes the main file, and its name says in which form.
    """
    image = job.image
    options: dict[str, Json] = {
        "image": job.name,
        "target": target,
        "architecture": job.facts.architecture,
        "facts": job.facts.to_json(),
        "kernel_path": job.kernel_path,
        "boot": {**boot, "cmdline": image.cmdline, "memory": image.memory, "vcpus": image.vcpus},
        "layout": image.disk.table,
        "type": image.filesystem.type,
        "label": image.filesystem.label,
        "blocks": blocks,
        **_around(image),
    }
    if "guestfs" in disk.options:
        options["guestfs"] = True
    inputs: dict[str, Source | Step] = {"kernel": job.kernel, "disk": disk, "root": disk.inputs["root"]}
    inputs |= {f"companion{suffix}": step for suffix, step in companions.items()}
    if wrapping is not None:
        inputs["file"] = wrapping
        options["form"] = wrapping.name
    sidecar = Step("sidecar", write_sidecar, inputs, options)
    return Output(job.name, target, job.out, wrapping or disk, {**companions, SUFFIX: sidecar})


def kernel_output(
    job: Job, target: str, wrapping: Step, path: str, companions: Mapping[str, Step], boot: Mapping[str, Json]
) -> Output:
    """Return an artifact without a disk: a main file that holds the kernel, at this path in it.

    Its sidecar's digest and length are the kernel's.
    """
    image = job.image
    options: dict[str, Json] = {
        "image": job.name,
        "target": target,
        "architecture": job.facts.architecture,
        "facts": job.facts.to_json(),
        "kernel_path": path,
        "boot": {**boot, "cmdline": image.cmdline, "memory": image.memory, "vcpus": image.vcpus},
        "form": wrapping.name,
    }
    inputs: dict[str, Source | Step] = {"kernel": job.kernel, "file": wrapping}
    inputs |= {f"companion{suffix}": step for suffix, step in companions.items()}
    sidecar = Step("sidecar", write_sidecar, inputs, options)
    return Output(job.name, target, job.out, wrapping, {**companions, SUFFIX: sidecar})
