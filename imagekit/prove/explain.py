"""Why an image does not boot: what the loader said, and what in the image explains it."""

import re
from collections.abc import Iterable
from pathlib import Path

from imagekit.errors import ImagekitError
from imagekit.inspect import inspect
from imagekit.inspect.report import Verdict as Judgement
from imagekit.kernel import Way
from imagekit.prove.boot import Boot, Verdict
from imagekit.terminal import plain

_LOADERS = {
    Way.PYGRUB_PV: "pygrub",
    Way.PVH_PYGRUB: "pygrub",
    Way.PV_GRUB: "Amazon PV-GRUB",
    Way.MULTIBOOT: "GRUB PVH",
    Way.HVM: "GRUB BIOS",
}
# What xl and its loaders say, and what it means; the first that fits.
_WORDS = (
    (r"no loader found|Invalid kernel", "Xen does not take this file for a kernel: damaged, or without Xen notes"),
    (r"Unable to find partition containing kernel", "pygrub finds no menu that names a kernel"),
    (r"PHYS32_ENTRY|Image is not capable of booting inside a HVM", "the kernel has no entry for PVH"),
    (r"Unable to open .*kernel|[Ff]ile not found", "the kernel that the menu names is not on the disk"),
    (r"(?i)(out of|not enough|insufficient|allocate|free)\b.{,40}\bmemory|alloc\w*\W+fail|deadlocked on memory",
     "the guest's memory is perhaps too small"),
)  # fmt: skip
_FAULTS = r"[Tt]riple fault|#DF|[Dd]ouble fault"
# What the BIOS, GRUB in the boot sector and Xen say of an HVM guest, and what it means; the first that fits.
_NO_MASK = (
    "the kernel died of a fault that it does not handle: where it lets interrupts in, of the timer's first tick, "
    "unless the 8259 is masked before it starts (in grub.cfg: outb 0x21 0xff, outb 0xa1 0xff)"
)
_NO_CFG = (
    "GRUB's core finds no /boot/grub/grub.cfg on the disk: there is none, or no file system that it reads in the "
    "first partition"
)
_NO_WORD = "GRUB ended before it said a word: its code in the sectors before the first partition is damaged"
_HVM_WORDS = (
    (r"error: syntax error", "grub.cfg has a syntax error, and GRUB takes none of it"),
    (r"not a bootable disk|No bootable device",
     "it has no boot sector that a BIOS would start: boot = 'hvm' puts GRUB's there"),
    (r"no multiboot2? header found", "GRUB finds no multiboot header in the kernel: it is none, or none for GRUB"),
    (r"error: file \S+ not found", "the kernel that grub.cfg names is not on the disk"),
    (r"invalid (magic number|arch-\w+ ELF)|unsupported flag", "GRUB does not take this file for a kernel"),
    (r"(?m)grub rescue>|^grub> ?$|unknown filesystem|no such (partition|device)", _NO_CFG),
    (_FAULTS, _NO_MASK),
    (r"not enough memory|out of memory", "the guest's memory is perhaps too small"),
)  # fmt: skip
_SILENT = (
    "its boot sector was started and says nothing on the serial port: GRUB does not find its grub.cfg, or it is "
    "none of GRUB's"
)
# What Linux, initramfs-tools, dracut, Arch's and small initrds say on the console when the root is not there.
_NO_ROOT = (
    (
        r"no root file system|VFS: (Unable to mount root|Cannot open root device)|Gave up waiting for root|"
        r"ALERT!.* does not exist|Warning: /dev/\S+ does not exist|Unable to find root device"
    ),
    "the guest does not find its root: root= names something else, or its initrd cannot open it (drivers, LVM)",
)
_FAULT = re.compile(
    r"#[A-Z]{2}(?![A-Z])|[Tt]riple fault|[Uu]nhandled|crashed on cpu"
)  # Xen on a guest that it ends
_LAST = 12
_SCREEN = "pyGRUB  version"  # the line that holds its whole menu, frame and all


def explain(boot: Boot, image: Path, way: Way) -> str:
    """Return, in lines, what the loader and the guest said last, and what in the image explains it."""
    lines: list[str] = []
    said = [line.strip() for line in plain(boot.said).splitlines() if line.strip() and _SCREEN not in line]
    if boot.verdict is Verdict.REFUSED and said:
        loader = "the BIOS" if way is Way.HVM else "the boot loader"
        lines += [f"xl and {loader} said:", *(f"  {line}" for line in said[-_LAST:])]
    faults = [line for line in said if _FAULT.search(line)]
    if boot.verdict is Verdict.CRASHED and faults:
        lines += ["Xen said:", *(f"  {line}" for line in faults[:_LAST])]
    console = [line.rstrip() for line in plain(boot.console.decode(errors="backslashreplace")).splitlines()]
    console = [line for line in console if line.strip()]
    lines += ["the console's last lines:", *(f"  {line}" for line in console[-_LAST:])] if console else []
    if not console:
        lines.append("the console is empty")
    if (
        reasons := _hvm_reasons(boot, image)
        if way is Way.HVM
        else _in_the_image(image, way) or _in_the_words(boot)
    ):
        lines += ["in the image:", *(f"  {reason}" for reason in reasons)]
    return "\n".join(lines)


def against_amazon(image: Path) -> tuple[str, ...]:
    """Return why Amazon's PV-GRUB would not boot a disk that GRUB 2 boots: where it looks, and what it reads."""
    (verdict,) = (verdict for verdict in inspect(image).verdicts if verdict.loader == _LOADERS[Way.PV_GRUB])
    return () if verdict.boots is not False else verdict.why


def _in_the_image(image: Path, way: Way) -> list[str]:
    """Return what inspect has against the loader on this image."""
    try:
        report = inspect(image)
    except ImagekitError as error:
        return [error.brief.replace(str(image), image.name)]  # which lies in a temporary folder, perhaps
    if report.kind == "kernel":
        ways = [known for kernel in report.kernels for known in kernel.ways if known.name == way.value]
        return [known.why for known in ways if not known.boots]
    verdicts = [verdict for verdict in report.verdicts if verdict.loader == _LOADERS.get(way)]
    against = [why for verdict in verdicts if verdict.boots is not True for why in verdict.why]
    wrong = {Way.PYGRUB_PV: Way.PYGRUB_PV, Way.PVH_PYGRUB: Way.PVH_PYGRUB}.get(way)
    against += [
        f"{kernel.path}: {known.why}"
        for kernel in report.kernels
        for known in kernel.ways
        if wrong is not None and known.name == wrong.value and not known.boots
    ]
    return list(dict.fromkeys(against))


def _in_the_words(boot: Boot) -> list[str]:
    console = plain(boot.console.decode(errors="backslashreplace"))
    if re.search(_NO_ROOT[0], console):
        return [_NO_ROOT[1]]
    return _meanings(_WORDS, f"{boot.said}\n{console}")


def _hvm_reasons(boot: Boot, image: Path) -> list[str]:
    """Return what inspect has against GRUB's way on this disk and, where it is not sure, what was said means."""
    verdict = _verdict(image)
    against = list(verdict.why) if verdict is not None and not verdict.boots else []
    if verdict is not None and verdict.boots is False:
        return against
    console = plain(boot.console.decode(errors="backslashreplace"))
    if re.search(_FAULTS, boot.said) and not console.strip():
        return [*against, _NO_WORD]
    found = [*against, *_meanings((*_HVM_WORDS, _NO_ROOT), f"{boot.said}\n{console}")]
    if found or boot.verdict is not Verdict.HUNG or console.strip():
        return found
    return [_SILENT if verdict is None else _NO_WORD]


def _verdict(image: Path) -> Judgement | None:
    """Return inspect's on GRUB in the boot sector; None for what is no disk that it knows."""
    try:
        verdicts = inspect(image).verdicts
    except ImagekitError:
        return None
    return next((verdict for verdict in verdicts if verdict.loader == _LOADERS[Way.HVM]), None)


def _meanings(words: Iterable[tuple[str, str]], said: str) -> list[str]:
    """Return the first meaning whose pattern is in what was said."""
    return [meaning for pattern, meaning in words if re.search(pattern, said)][:1]
