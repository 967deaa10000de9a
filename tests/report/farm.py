"""A run of a farm, made by hand: several machines, targets and regions, and all that can become of an artifact."""

import random
from collections.abc import Iterator
from itertools import product

from imagekit.run import (
    ArtifactRecord,
    BootRecord,
    DiskMap,
    Failure,
    Made,
    Publication,
    Run,
    SourceFile,
    Span,
    StepRecord,
)

BEGUN = 1795890000.0
IMAGES = ("dns", "firewall", "mirage-www", "smtp-relay", "tls-terminator")
TARGETS = ("ebs", "xcp", "xen")
MACHINES = ("builder-1", "builder-2", "builder-3")
REGIONS = ("eu-west-1", "us-east-1")
DIGEST = "c22c681c8c3b5f92" * 4
BROKEN = Failure(
    brief="smtp-relay.xen cannot boot on ebs: it has no entry for PV, only for PVH",
    details="missing: XEN_ELFNOTE_ENTRY",
    hint="--target xen or xcp boots it",
    code=3,
)
FULL = Failure(brief="no room is left in out", details="out has 12 KiB, 2 MiB are wanted", hint="", code=75)
DISK = DiskMap(
    size=2 << 20,
    table="mbr",
    filesystems=("ext2, partition 1",),
    spans=(
        Span(start=0, length=512, kind="table", label="MBR: boot code and partition table"),
        Span(start=512, length=(1 << 20) - 512, kind="hole", label="never written"),
        Span(start=1 << 20, length=4096, kind="superblock", label="superblock"),
        Span(start=(1 << 20) + 4096, length=16384, kind="inodes", label="inode table"),
        Span(start=(1 << 20) + 20480, length=180224, kind="kernel", label="/boot/app.xen"),
        Span(start=(1 << 20) + 200704, length=4096, kind="boot", label="/boot/grub/menu.lst"),
        Span(start=(1 << 20) + 204800, length=(1 << 20) - 204800, kind="free", label="free"),
    ),
)
BOOT = BootRecord(
    way="pv-grub",
    loader="GRUB for PV, with menu.lst 2.06",
    booted=True,
    verdict="said",
    why="it said 'hello from'",
    started="2026-11-27T21:00:00Z",
    seconds=2.31,
    console="[0.000] Booting\r\nhello from dns\nlistening on port 53\n",
)


def farm() -> Run:
    """Return the run: 15 artifacts on three machines, one cached in each image, one failed, one skipped."""
    steps = tuple(_steps())
    return Run(
        version="0.1.0",
        command="build",
        inputs=tuple(f"recipes/{name}.toml" for name in IMAGES),
        targets=("all",),
        settings=("memory",),
        machine="front",
        begun=BEGUN,
        ended=max(step.begun + step.seconds for step in steps) + 0.4,
        code=1,
        failure=Failure(brief="2 artifacts of 15 failed", code=1),
        artifacts=tuple(_artifact(image, target) for image, target in product(IMAGES, TARGETS)),
        steps=steps,
        warnings=("builder-2 has no KVM: proofs are emulated there",),
    )


def _artifact(image: str, target: str) -> ArtifactRecord:
    if (image, target) == ("smtp-relay", "ebs"):
        return ArtifactRecord(image=image, target=target, outcome="skipped", failure=BROKEN)
    if (image, target) == ("firewall", "xen"):
        path = f"out/{image}.xen.raw"
        return ArtifactRecord(image=image, target=target, outcome="failed", path=path, failure=FULL)
    number = 1 + IMAGES.index(image)
    return ArtifactRecord(
        image=image,
        target=target,
        outcome="cached" if target == "xcp" else "made",
        path=f"out/{image}.{target}",
        companions=(f"out/{image}.{target}.imagekit.json",),
        digest=f"{number}{DIGEST[1:]}",
        size=number << 30 if target == "ebs" else number << 21,
        on_disk=number << 17,
        seconds=0.35 * number,
        kernel="PV kernel, 64-bit ELF, packed by gzip",
        sources=(SourceFile(path=f"kernels/{image}.xen", digest=DIGEST),),
        disk=DISK,
        boots=_boots(image, target),
        publications=tuple(_published(image)) if target == "ebs" else (),
    )


def _boots(image: str, target: str) -> tuple[BootRecord, ...]:
    if (image, target) == ("dns", "ebs"):
        return (BOOT,)
    if (image, target) == ("firewall", "ebs"):
        said = {"booted": False, "verdict": "panic", "why": "the kernel panicked", "console": "Kernel panic\n"}
        return (BOOT.model_copy(update=said),)
    return ()


def _published(image: str) -> Iterator[Publication]:
    for number, region in enumerate(REGIONS):
        name = f"{number}f3d6f1143b69c99{IMAGES.index(image)}"
        made = (Made(kind="snapshot", id=f"snap-{name}"), Made(kind="image", id=f"ami-{name}"))
        yield Publication(
            id=name, region=region, state="published", result=f"ami-{name}", rehearsed=True, resources=made
        )


def _steps() -> Iterator[StepRecord]:
    """Yield steps, several a machine at a time; the same ones always."""
    dice = random.Random(8)  # noqa: S311 -- for looks
    busy = {(machine, job): BEGUN + 0.2 for machine in MACHINES for job in range(2)}
    for image, target in product(IMAGES, TARGETS):
        for step, seconds in (("kernel", 0.2), ("root", 0.8), ("disk", 3.0), ("vhd", 1.2), ("sidecar", 0.1)):
            where = min(busy, key=lambda place: busy[place])
            cached = target == "xcp" and step != "vhd"
            took = 0.01 if cached else seconds * dice.uniform(0.4, 2.2)
            yield StepRecord(
                step=step,
                image=image,
                cached=cached,
                begun=busy[where],
                seconds=took,
                machine=f"{where[0]}:{4000 + where[1]}",
                reason="" if cached else "never made",
                waited=step == "root" and target == "xen",
            )
            busy[where] += took + dice.uniform(0.0, 0.3)
