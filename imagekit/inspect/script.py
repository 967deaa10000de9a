"""What GRUB in the boot sector does on its way to the kernel, beside loading it: read as `verify` reads it.

menus.py finds the entry of any grub.cfg, and takes conditions as true. Whether the kernel lives through its start
is told only of one that imagekit could have written.
"""

from dataclasses import replace

from imagekit.boot import CONSOLES
from imagekit.disk import grub_modules
from imagekit.errors import VerificationError
from imagekit.formats.grub_cfg import PATH, parse_grub_cfg
from imagekit.formats.grub_core import Core
from imagekit.inspect.menus import LIMIT
from imagekit.inspect.report import Verdict
from imagekit.inspect.volumes import Volume


def judged(verdict: Verdict, core: Core, volume: Volume, kind: str) -> Verdict:
    """Return the verdict on a disk whose menu leads to a kernel: `kind` is that of the volume it lies on."""
    if core.config not in {"", CONSOLES}:
        return replace(verdict, boots=None, why=("GRUB's core has commands of its own, before grub.cfg",))
    node = volume.find(PATH)
    text = volume.read(node, LIMIT) if node is not None and node.kind == "file" else b""
    try:
        menu = parse_grub_cfg(text.decode(errors="backslashreplace"))
    except VerificationError as error:
        why = f"{error.brief}, so what GRUB makes of it is not told: {error.details}"
        return replace(verdict, boots=None, why=(why,))
    if menu.unmasked:
        return replace(verdict, boots=False, why=(f"{menu.unmasked}: the kernel dies of the timer's first tick",))
    lacking = set(grub_modules(kind.lower(), menu.command, packed=False)) - set(core.modules)
    if lacking:
        why = f"GRUB's core lacks {', '.join(sorted(lacking))}"
        return replace(verdict, boots=False, why=(why,))
    return verdict
