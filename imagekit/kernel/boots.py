"""Where a kernel can boot, and why not elsewhere: Xen's own rules, applied before anything is made.

What loaders unpack, and where it is written:

- Xen's domain builder (xl and xapi, directly or by pygrub): the file by gzip, once; a bzImage's payload by gzip,
  xz, lzma, lz4, or zstd since 4.15. Xen 4.17, `tools/libs/guest`: `xg_dom_core.c` (xc_dom_kernel_file) and
  `xg_dom_bzimageloader.c`. It knows bzip2 and lzo too, but by libraries that it may be built without, as Debian's
  is (`tools/configure.ac`; the Depends of libxenmisc4.17): we refuse these.
- PV-GRUB: the file by gzip, once; a payload by gzip, bzip2, lzo or xz. GRUB 0.97's own file reader; Amazon's page
  "User provided kernels"; Xen 4.3 to 4.17, `stubdom/grub`, which hands the file to the same builder.
- GRUB 2 (2.06): the file by gzip, once, by its module gzio. Its `multiboot` and `multiboot2` take no bzImage; its
  `linux` takes nothing else, and the payload unpacks itself, however it is packed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from imagekit.kernel.facts import KernelFacts, Kind
from imagekit.kernel.features import REQUIRABLE, required


class Way(StrEnum):
    """A way to boot a kernel on Xen."""

    PV_DIRECT = "pv"
    """xl's `kernel=`, type "pv"."""
    PYGRUB_PV = "pygrub"
    """pygrub takes it from the disk, type "pv": xl, xapi."""
    PV_GRUB = "pv-grub"
    """GRUB 0.97 in the guest: EC2's AKIs. A 32-bit one boots 32-bit kernels, a 64-bit one 64-bit kernels."""
    PVH = "pvh"
    """xl's `kernel=`, type "pvh"."""
    PVH_PYGRUB = "pvh-pygrub"
    """pygrub takes it from the disk, type "pvh"."""
    MULTIBOOT = "multiboot"
    """GRUB 2's commands `multiboot` and `multiboot2`, in a PVH guest."""
    HVM = "hvm"
    """GRUB 2 in the boot sector of a BIOS disk, in an HVM guest: `multiboot`, `multiboot2` or `linux`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a kernel does not boot one way. `missing` names what it lacks; "" where no addition would help."""

    reason: str
    missing: str
    way: Way


@dataclass(frozen=True, slots=True)
class _Loader:
    name: str
    wrappings: frozenset[str]
    payloads: frozenset[str] | None
    """None: a bzImage unpacks itself."""


_BUILDER = _Loader("Xen's domain builder", frozenset({"gzip"}), frozenset({"gzip", "xz", "lzma", "lz4", "zstd"}))
_PV_GRUB = _Loader("PV-GRUB", frozenset({"gzip"}), frozenset({"gzip", "bzip2", "lzo", "xz"}))
_GRUB = _Loader("GRUB", frozenset({"gzip"}), frozenset())
_GRUB_BIOS = _Loader("GRUB", frozenset({"gzip"}), None)

_LOADERS = {
    Way.PV_DIRECT: _BUILDER,
    Way.PYGRUB_PV: _BUILDER,
    Way.PV_GRUB: _PV_GRUB,
    Way.PVH: _BUILDER,
    Way.PVH_PYGRUB: _BUILDER,
    Way.MULTIBOOT: _GRUB,
    Way.HVM: _GRUB_BIOS,
}
_PVH_WAYS = {Way.PVH, Way.PVH_PYGRUB}

_Objection = tuple[str, str]
"""A refusal's reason, and what is missing."""


def why_not(facts: KernelFacts, way: Way) -> Refusal | None:
    """Return the first reason why a kernel does not boot this way; None if it does, as far as its file tells."""
    for reason, missing in _objections(facts, way):
        return Refusal(reason, missing, way)
    return None


def grub_command(facts: KernelFacts) -> Literal["multiboot", "multiboot2", "linux"]:
    """Return the command by which GRUB 2 loads a kernel that boots by `Way.HVM` or `Way.MULTIBOOT`."""
    if facts.container == "bzimage":
        return "linux"
    return "multiboot" if facts.multiboot else "multiboot2"


def _objections(facts: KernelFacts, way: Way) -> Iterator[_Objection]:
    if facts.machine not in {"x86_64", "i386"}:
        yield f"it is built for {facts.machine}, and these ways to boot are for x86", ""
    if way is Way.MULTIBOOT:
        yield from _against_multiboot(facts)
    elif way is Way.HVM:
        yield from _against_hvm(facts)
    elif way in _PVH_WAYS:
        yield from _against_pvh(facts)
    else:
        yield from _against_pv(facts, way)
    yield from _against_packing(facts, _LOADERS[way])


def _against_multiboot(facts: KernelFacts) -> Iterator[_Objection]:
    # Debian's GRUB for PVH has all modules, and Qubes': qubes-linux-pvgrub2, grub2-xen.spec.
    if not (facts.multiboot or facts.multiboot2):
        yield "GRUB finds no Multiboot header in it", "a Multiboot header in the first 8 KiB"


def _against_hvm(facts: KernelFacts) -> Iterator[_Objection]:
    if not (facts.multiboot or facts.multiboot2 or facts.container == "bzimage"):
        missing = "a Multiboot header in the first 8 KiB, or the form of a Linux bzImage"
        yield "GRUB finds no Multiboot header in it, and it is no Linux bzImage", missing


def _against_pvh(facts: KernelFacts) -> Iterator[_Objection]:
    if facts.kind not in {Kind.PVH, Kind.BOTH}:
        yield f"it has no entry for PVH{_doors(facts)}", "PHYS32_ENTRY (note 18)"
    yield from _against_features(facts)


def _against_pv(facts: KernelFacts, way: Way) -> Iterator[_Objection]:
    if facts.kind not in {Kind.PV, Kind.BOTH}:
        missing = "ENTRY or VIRT_BASE (notes 1 and 3), or a section __xen_guest"
        yield f"it has no entry for PV{_doors(facts)}", missing
    # libelf, elf_xen_note_check
    if not facts.loader.startswith("generic") and not facts.guest_os.startswith("linux"):
        yield f"it is made for another loader than Xen's generic one: {facts.loader!r}", "LOADER=generic (note 8)"
    if not facts.xen_version.startswith("xen-3.0"):
        yield f"it is made for another Xen than xen-3.0: {facts.xen_version!r}", "XEN_VERSION=xen-3.0 (note 5)"
    if facts.machine == "i386" and way is not Way.PV_GRUB:
        yield "it is a 32-bit PV kernel, which Debian's Xen and XCP-ng 8.3 no longer run: EC2's PV-GRUB does", ""
    if facts.machine == "i386" and not _has_pae(facts):
        yield "it is a 32-bit kernel without PAE, which Xen gave up", "PAE_MODE=yes (note 9)"
    yield from _against_features(facts)


def _against_features(facts: KernelFacts) -> Iterator[_Objection]:
    needs = required(facts.features)
    if "dom0" in needs:
        yield "it is made for the control domain (dom0) only", ""
    if unknown := sorted(needs - REQUIRABLE):
        yield f"it requires what Xen does not know: {', '.join(unknown)}", ""


def _against_packing(facts: KernelFacts, loader: _Loader) -> Iterator[_Objection]:
    if facts.payload and loader.payloads is not None and facts.payload not in loader.payloads:
        kind = f"a bzImage packed by {facts.payload}" if loader.payloads else "a bzImage"
        yield f"it is {kind}, which {loader.name} does not unpack everywhere", ""
    if len(facts.compression) > 1:
        yield f"it is packed {len(facts.compression)} times, and {loader.name} unpacks once", ""
    if unknown := set(facts.compression) - loader.wrappings:
        yield f"it is packed by {unknown.pop()}, which {loader.name} does not unpack: plain or gzip will do", ""


def _doors(facts: KernelFacts) -> str:
    return f", only for {facts.kind.value.upper()}" if facts.kind in {Kind.PV, Kind.PVH} else ""


def _has_pae(facts: KernelFacts) -> bool:
    """As libelf reads it: a note says "yes" or "bimodal", the section "yes" and perhaps more."""
    legacy = facts.notes_from == "__xen_guest" and facts.pae.startswith("yes")
    return legacy or facts.pae == "yes" or "bimodal" in facts.pae
