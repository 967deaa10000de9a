"""What an image is to EC2: a PV guest, started by Amazon's PV-GRUB, or HVM, by the boot sector of its disk.

Sources: Amazon EC2 User Guide, "Linux AMI virtualization types", "Device names on Linux instances", "Boot modes";
RegisterImage in the API reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

BIOS = "legacy-bios"
"""The boot mode of a disk with a boot sector."""

ROOTS_OF_HVM = ("/dev/sda1", "/dev/xvda")
"""The device names that EC2 reserves for the root of an HVM image; it has others for data."""

Root = Literal["ebs", "instance-store"]


@dataclass(frozen=True)
class Guest:
    """An image, as far as EC2 asks: `hvm` or PV, its architecture, where its root device comes from.

    `linux`: its kernel may have drivers for the disks and the network of Nitro, which nothing here can tell.
    """

    hvm: bool
    architecture: str
    root: Root = "ebs"
    partitioned: bool = False
    linux: bool = False

    @property
    def virtualization(self) -> str:
        """The word that EC2 has for it."""
        return "hvm" if self.hvm else "paravirtual"

    @property
    def root_device(self) -> str:
        """The name of the root device: of a PV disk with partitions it has no number (docs/how-to/ec2.md)."""
        if self.hvm:
            return ROOTS_OF_HVM[1]
        return "/dev/sda" if self.partitioned else "/dev/sda1"

    def registration(self, kernel: str) -> Mapping[str, str]:
        """Return how RegisterImage is told to start it; `kernel` is the AKI of a PV image, "" for HVM."""
        said = {"Architecture": self.architecture, "VirtualizationType": self.virtualization}
        return said | ({"BootMode": BIOS} if self.hvm else {"KernelId": kernel})
