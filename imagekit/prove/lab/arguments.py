"""What Xen and dom0 are told on their command lines; `Lab` files and these belong together.

com1 is Xen's and dom0's console, com2 the guest's, com3 carries what is fetched from the guest.
com3 must have an interrupt of its own (QEMU: `-device isa-serial,iobase=0x3e8,irq=5,...`): Xen keeps com1's, which
a PC shares with com3, and dom0 would write sixteen bytes and wait for ever.
"""

from imagekit.prove.lab.variants import Variant

_GUARDS_OFF = "spec-ctrl=no,eager-fpu xpti=no pv-l1tf=off iommu=0"
"""Guards against other tenants, of whom there are none: they cost an emulated machine dear.

But the FPU's registers are switched with each vCPU: `spec-ctrl=no` alone leaves that to a trap, and half of the
boots of a Debian under GRUB for PV then died of a pointer that had gone through %xmm0.
"""

_XEN = "console=com1 com1=115200,8n1 loglvl=warning noreboot vga=none no-real-mode bootscrub=1 dom0_max_vcpus=1"

_SWIOTLB = 4096
"""Slots of 2 KiB in dom0's bounce buffer, which has 64 MiB otherwise: more than it can spare."""

DOM0_ARGUMENTS = (
    "console=hvc0 quiet loglevel=3 panic=-1 rdinit=/init mitigations=off random.trust_cpu=on"
    f" tsc=reliable no_timer_check 8250.nr_uarts=3 swiotlb={_SWIOTLB}"
)
"""dom0's command line, which follows its kernel's name in `-initrd`, commas doubled."""


def xen_arguments(variant: Variant) -> str:
    """Return Xen's command line (`-append`): docs/misc/xen-command-line.pandoc of Xen 4.17.

    What hvmloader and the BIOS say (by port 0xe9) is of the lowest level: only an HVM guest has any.
    """
    level = "all" if variant.device_model else "warning"
    return f"{_XEN} guest_loglvl={level} dom0_mem={variant.memory}M,max:{variant.memory}M {_GUARDS_OFF}"
