"""What a kernel is, and where it can boot: any file read as a Xen kernel, hostile ones included.

    facts = read_kernel(Path("app.xen"))
    refusal = why_not(facts, Way.PV_GRUB)

Nothing is run and nothing is believed: a file gives KernelFacts, or KernelError (exit 3).
"""

from imagekit.kernel.boots import Refusal, Way, grub_command, why_not
from imagekit.kernel.facts import KernelFacts, Kind
from imagekit.kernel.read import read_kernel, read_kernel_bytes
from imagekit.kernel.repack import can_repack, repacked, write_repacked
from imagekit.kernel.wrapping import unpack

__all__ = [
    "KernelFacts",
    "Kind",
    "Refusal",
    "Way",
    "can_repack",
    "grub_command",
    "read_kernel",
    "read_kernel_bytes",
    "repacked",
    "unpack",
    "why_not",
    "write_repacked",
]
