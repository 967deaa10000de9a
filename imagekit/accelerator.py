"""Whether KVM is of use here: tried by a short real run, because a /dev/kvm that opens says little."""

import os
import time

from imagekit import command
from imagekit.errors import ToolError

# A BIOS that finds nothing to boot, says so on port 0x402, and resets at once, which ends QEMU.
_PROBE = (
    "-machine", "pc", "-nodefaults", "-display", "none", "-no-reboot", "-boot", "reboot-timeout=1",
    "-chardev", "stdio,id=bios", "-device", "isa-debugcon,iobase=0x402,chardev=bios",
)  # fmt: skip
_PATIENCE = 2.0  # seconds; emulated, it takes a fifth of one


def against_kvm() -> str:
    """Tell why KVM is no use here, or "". A /dev/kvm may open and QEMU hang all the same: so it is tried."""
    if not os.path.exists("/dev/kvm"):
        return "there is no /dev/kvm: the processor's virtualization is off, or this is a guest without it"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "sudo usermod -aG kvm $USER, and log in again"
    try:
        emulated = _boot("tcg", 10 * _PATIENCE)
        # A processor that is truly lent is no slower than one that is played.
        _boot("kvm", max(_PATIENCE, 3 * emulated))
    except ToolError as error:
        said = error.details.splitlines()[1:]
        return "tried, and " + ": ".join((error.brief, *said[-1:]))
    return ""


def _boot(accelerator: str, patience: float) -> float:
    """Run the BIOS and return the seconds that it took; ToolError when it says nothing, or not in time."""
    begun = time.monotonic()
    done = command.run("qemu-system-x86_64", "-accel", accelerator, *_PROBE, timeout=patience)
    if not done.stdout:
        raise ToolError(f"QEMU ran under {accelerator}, and its guest said nothing")
    return time.monotonic() - begun
