"""The table of the README: for each kind of kernel and each system, how it boots, by the code's own rules."""

from dataclasses import replace
from itertools import groupby

from imagekit import targets
from imagekit.kernel import KernelFacts, Kind, Way, why_not

_PV = KernelFacts(
    kind=Kind.PV,
    bits=64,
    machine="x86_64",
    container="elf",
    compression=(),
    payload=None,
    entry=None,
    phys32_entry=None,
    virt_base=None,
    paddr_offset=None,
    hypercall_page=None,
    guest_os="",
    guest_version="",
    xen_version="xen-3.0",
    loader="generic",
    pae="",
    features=(),
    notes_from="notes",
    multiboot=False,
    multiboot2=False,
    memory=0,
    size=0,
    unpacked_size=0,
)
_LINUX = replace(_PV, kind=Kind.BOTH, container="bzimage", payload="gzip")

KINDS = (
    ("PV (MirageOS up to 3.8, Mini-OS, GRUB for Xen)", "PV notes, or the old section `__xen_guest`", _PV),
    (
        "PVH and Multiboot (MirageOS 3.9 and later, Solo5)",
        "PHYS32_ENTRY, and a Multiboot header",
        replace(_PV, kind=Kind.PVH, multiboot=True),
    ),
    ("PVH alone", "PHYS32_ENTRY", replace(_PV, kind=Kind.PVH)),
    ("Linux", "a bzImage with both", _LINUX),
    ("Linux that knows nothing of Xen", "a bzImage with neither", replace(_LINUX, kind=Kind.NONE)),
    ("other Multiboot kernels", "a Multiboot header, 1 or 2", replace(_PV, kind=Kind.NONE, multiboot2=True)),
    ("other files", "", replace(_PV, kind=Kind.NONE)),
)

_LOADERS = {
    Way.PYGRUB_PV: "PV by pygrub",
    Way.PV_GRUB: "PV by PV-GRUB",
    Way.PVH_PYGRUB: "PVH by pygrub",
    Way.PV_DIRECT: "PV by a kernel file",
    Way.PVH: "PVH by a kernel file",
    Way.MULTIBOOT: "PVH by GRUB",
    Way.HVM: "HVM by GRUB",
}


def table() -> str:
    """Return it as Markdown; systems that agree on all kinds share a column."""
    columns = sorted((tuple(_cell(facts, name) for _, _, facts in KINDS), name) for name in targets.names())
    shared = [([name for _, name in group], cells) for cells, group in groupby(columns, lambda one: one[0])]
    shared.sort(key=lambda one: (one[1].count("no"), one[0]))
    heads = ("kernel", "marks", *(", ".join(f"`{name}`" for name in names) for names, _ in shared))
    rows = [(kind, marks, *(cells[at] for _, cells in shared)) for at, (kind, marks, _) in enumerate(KINDS)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ("---",) * len(heads), *rows))


def _cell(facts: KernelFacts, name: str) -> str:
    """Return the guests as which a kernel boots on a target, that of `boot = "auto"` first."""
    module = targets.load(name)
    ways = [*module.WAYS.values(), *getattr(module, "TEMPLATE", {}).values()]
    good = [way for way in ways if why_not(facts, way) is None]
    return ", ".join(_LOADERS[way] for way in good) or "no"
