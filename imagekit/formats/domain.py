"""A Xen guest, said once; `xl` and `libvirt` write it down in their own tongues.

What is refused here is what some toolstack would misread without a word: names that `xl` takes for numbers, a
command line that Xen cuts off, characters that one of the formats cannot hold. Facts: xl.cfg(5),
xl-disk-configuration(5), xl-network-configuration(5), xen-vbd-interface(7), and Xen's public headers.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from imagekit.errors import RecipeError
from imagekit.formats import checks
from imagekit.recipe import devices

Kind = Literal["pv", "pvh", "hvm"]
VifType = Literal["vif", "ioemu"]
Access = Literal["rw", "ro"]
DiskFormat = Literal["raw", "qcow2", "vhd"]
Action = Literal["destroy", "restart", "preserve", "rename-restart"]
CrashAction = Literal[Action, "coredump-destroy", "coredump-restart"]

# MAX_GUEST_CMDLINE of xen/include/public/xen.h is 1024 with the NUL; what is longer is cut without a word.
CMDLINE_LIMIT = 1023

# xend's own set. The first character: not `-`, which `xl` would take for an option.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.:+-]*"
# The name becomes part of file names (xl-NAME.log, qemu-xl-NAME.log.1), which end at 255 bytes.
_NAME_LIMIT = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Vif:
    """A network interface; what is None is left to the host.

    `bridge` is a bridge of the host (its default is xenbr0), `mac` six hexadecimal pairs (else Xen makes one up at
    every start), `ip` the one address that the host's script lets through, `script` the hotplug script, bare or
    with its path, `type` what an HVM guest sees: "vif", Xen's own device alone, or "ioemu", an emulated card too.
    RecipeError if one of them cannot be meant.
    """

    bridge: str | None = None
    mac: str | None = None
    ip: str | None = None
    script: str | None = None
    type: str | None = None

    def __post_init__(self) -> None:
        checks.match("bridge", self.bridge, devices.BRIDGE, devices.BRIDGE_WORDS)
        checks.match("MAC address", self.mac, devices.MAC, devices.MAC_WORDS)
        checks.match("network script", self.script, devices.SCRIPT, devices.SCRIPT_WORDS)
        if self.ip is not None:
            checks.address(self.ip)
        if self.type is not None:
            checks.one_of("type of network interface", self.type, get_args(VifType))


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk: `path` on the host, `vdev` its name in the guest.

    The path is absolute: xl looks for others below /dev, and xend looks from its own folder.
    RecipeError if a field cannot be meant.
    """

    path: str
    vdev: str = "xvda"
    access: Access = "rw"
    format: DiskFormat = "raw"

    def __post_init__(self) -> None:
        checks.path("disk's path", self.path)
        if not self.path.startswith("/"):
            raise RecipeError(
                f"the disk's path {self.path!r} is not absolute",
                hint="a host looks for others elsewhere: begin with /",
            )
        checks.match("virtual device", self.vdev, devices.VDEV, devices.VDEV_WORDS)
        checks.one_of("disk's access", self.access, get_args(Access))
        checks.one_of("disk's format", self.format, get_args(DiskFormat))

    @property
    def is_device(self) -> bool:
        """Whether the path names a device of the host and no file."""
        return self.path.startswith("/dev/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A guest of Xen.

    With a `kernel` (a path on the host) Xen loads that; without one, `bootloader` runs on the host and takes the
    kernel off the first disk. `cmdline` goes to the kernel; pygrub adds it behind what the disk's menu says. A
    relative kernel lasts until the first reboot only: xl's daemon then looks for it from /. An "hvm" domain has
    neither: its BIOS starts what is in the boot sector of the first disk, which finds kernel and command line.

    `memory` is in MiB. The policies: a unikernel that ends has done its work, and one that crashed would crash
    again, at full speed, for ever; so both give their memory and their name back, and the farm decides.

    RecipeError names the field that cannot be meant, or two that contradict each other.
    """

    name: str
    kind: Kind
    memory: int
    vcpus: int = 1
    disks: tuple[Disk, ...] = ()
    vifs: tuple[Vif, ...] = ()
    kernel: str | None = None
    ramdisk: str | None = None
    cmdline: str = ""
    bootloader: str = "pygrub"
    on_poweroff: Action = "destroy"
    on_reboot: Action = "restart"
    on_crash: CrashAction = "destroy"
    uuid: str | None = None

    def __post_init__(self) -> None:
        self._check_identity()
        self._check_boot()
        self._check_devices()
        checks.one_of("kind", self.kind, get_args(Kind))
        checks.one_of("on_poweroff", self.on_poweroff, get_args(Action))
        checks.one_of("on_reboot", self.on_reboot, get_args(Action))
        checks.one_of("on_crash", self.on_crash, get_args(CrashAction))

    @property
    def boot(self) -> Literal["direct", "bootloader", "bios"]:
        """Who loads the kernel: Xen itself, a boot loader that looks on the first disk, or the disk's own."""
        if self.kind == "hvm":
            return "bios"
        return "bootloader" if self.kernel is None else "direct"

    def _check_identity(self) -> None:
        checks.match("domain name", self.name, _NAME, "letters, digits and _ . : + -")
        if self.name.isdigit():
            raise RecipeError(
                f"the domain name {self.name!r} is a number", hint="xl would take it for a domain's id"
            )
        if len(self.name) > _NAME_LIMIT:
            raise RecipeError(f"the domain name is longer than {_NAME_LIMIT} characters")
        if self.uuid is not None:
            checks.uuid(self.uuid)

    def _check_boot(self) -> None:
        checks.line("command line", self.cmdline)
        if len(self.cmdline.encode()) > CMDLINE_LIMIT:
            raise RecipeError(
                f"the command line is longer than {CMDLINE_LIMIT} bytes",
                hint="Xen would cut it off without a word",
            )
        if self.kind == "hvm" and (self.kernel is not None or self.cmdline):
            raise RecipeError("an HVM domain's kernel and command line are on its disk")
        if self.kernel is not None:
            checks.path("kernel's path", self.kernel)
            if self.ramdisk is not None:
                checks.path("ramdisk's path", self.ramdisk)
            return
        checks.path("boot loader", self.bootloader)
        if not self.disks:
            raise RecipeError(f"{self.name} has neither a kernel nor a disk to boot from")
        if self.ramdisk is not None:
            raise RecipeError(
                "a ramdisk needs a kernel beside it", hint="or put it on the disk, for the boot loader"
            )

    def _check_devices(self) -> None:
        for what, number in (("memory", self.memory), ("vcpus", self.vcpus)):
            if number < 1:
                raise RecipeError(f"{what} = {number} is too little")
        checks.distinct("virtual device", (disk.vdev for disk in self.disks))
        checks.distinct("MAC address", (vif.mac.lower() for vif in self.vifs if vif.mac is not None))
