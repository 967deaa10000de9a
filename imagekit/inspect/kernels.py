"""What a kernel is and by which ways it boots: imagekit.kernel's answers, in words."""

from imagekit.errors import KernelError
from imagekit.inspect.report import Kernel
from imagekit.inspect.report import Way as Answer
from imagekit.inspect.words import size
from imagekit.kernel import KernelFacts, Kind, Way, read_kernel_bytes, why_not

LARGEST = 128 << 20
"""Bytes of the largest kernel that is read out of an image."""

LINUX = "linux"
"""GRUB 2's command `linux` in a PVH guest: not one of imagekit.kernel's ways, since no image of ours needs it."""

_TITLES = {
    Way.PV_DIRECT: "xl as PV",
    Way.PYGRUB_PV: "pygrub as PV",
    Way.PV_GRUB: "PV-GRUB (Amazon EC2)",
    Way.PVH: "xl as PVH",
    Way.PVH_PYGRUB: "pygrub as PVH",
    Way.MULTIBOOT: "GRUB 2 by multiboot (PVH)",
    Way.HVM: "GRUB 2 in a boot sector (HVM)",
}
_KINDS = {
    Kind.PV: "PV kernel",
    Kind.PVH: "PVH kernel",
    Kind.BOTH: "kernel for PV and PVH",
    Kind.NONE: "kernel without a Xen entry",
}


def describe(path: str, partition: int, data: bytes) -> Kernel:
    """Describe a kernel that is at hand; what is no kernel gets a `problem` and no ways."""
    try:
        facts = read_kernel_bytes(data)
    except KernelError as error:
        return Kernel(path, partition, len(data), "no kernel", problem=error.brief)
    return tell(path, partition, facts)


def tell(path: str, partition: int, facts: KernelFacts) -> Kernel:
    """Put a kernel's facts in words, with every way of booting it."""
    ways = (*(_answer(facts, way) for way in Way), _linux(facts))
    return Kernel(path, partition, facts.size, summary(facts), tuple(_facts(facts)), ways)


def _answer(facts: KernelFacts, way: Way) -> Answer:
    refusal = why_not(facts, way)
    if refusal is None:
        return Answer(way.value, _TITLES[way], boots=True, door=_door(facts, way))
    return Answer(
        way.value, _TITLES[way], boots=False, why=refusal.reason, missing=refusal.missing, door=_door(facts, way)
    )


def _door(facts: KernelFacts, way: Way) -> str:
    if way is Way.HVM and facts.container == "bzimage":
        return "Linux boot protocol"
    if way in {Way.MULTIBOOT, Way.HVM}:
        return "multiboot header"
    name, address = ("PVH", facts.phys32_entry) if way in {Way.PVH, Way.PVH_PYGRUB} else ("PV", facts.entry)
    return f"{name} entry" + ("" if address is None else f" at {address:#x}")


def _linux(facts: KernelFacts) -> Answer:
    boots = facts.container == "bzimage"
    why = "" if boots else "it is no Linux bzImage: GRUB's `linux` takes nothing else in a PVH guest"
    return Answer(LINUX, "GRUB 2 by linux (PVH)", boots, why, door="Linux boot protocol")


def summary(facts: KernelFacts) -> str:
    """Return what a kernel is, in a line."""
    packing = [*facts.compression, *([facts.payload] if facts.payload else [])]
    form = "bzImage" if facts.container == "bzimage" else "ELF"
    return f"{_KINDS[facts.kind]}, {facts.bits}-bit {form}" + (
        f", packed by {' and '.join(packing)}" if packing else ""
    )


def _facts(facts: KernelFacts) -> list[tuple[str, str]]:
    texts = (
        ("guest", " ".join(filter(None, (facts.guest_os, facts.guest_version)))),
        ("machine", facts.machine),
        ("Xen version", facts.xen_version),
        ("loader", facts.loader),
        ("entry (PV)", _address(facts.entry)),
        ("base (PV)", _address(facts.virt_base)),
        ("hypercall page", _address(facts.hypercall_page)),
        ("entry (PVH)", _address(facts.phys32_entry)),
        ("features", ", ".join(facts.features)),
        ("told by", {"notes": "ELF notes", "__xen_guest": "section __xen_guest", None: ""}[facts.notes_from]),
        ("multiboot", ", ".join(("1",) * facts.multiboot + ("2",) * facts.multiboot2)),
        ("memory it spans", size(facts.memory) if facts.memory else ""),
    )
    return [(name, text) for name, text in texts if text]


def _address(address: int | None) -> str:
    return "" if address is None else f"{address:#x}"
