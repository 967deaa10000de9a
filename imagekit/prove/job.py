"""What dom0 is asked to do: a tar with the guest's xl.cfg, its kernel where it comes from us, and shell variables.

dom0's side is imagekit/prove/lab/dom0/init.
"""

import io
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
from urllib.parse import SplitResult

from imagekit.formats.domain import Disk, Domain, Kind, Vif
from imagekit.formats.xl import xl_cfg
from imagekit.kernel import Way

DISK = "/dev/lab-disk"
_LAB = "/usr/lib/lab"
_MAC = "00:16:3e:00:00:01"
_MIB = 1 << 20

GRUBS: Mapping[Way, str] = {Way.PV_GRUB: f"{_LAB}/pv-grub.bin", Way.MULTIBOOT: f"{_LAB}/pvh-grub.bin"}
PYGRUBS = frozenset({Way.PYGRUB_PV, Way.PVH_PYGRUB})
DIRECT = frozenset({Way.PV_DIRECT, Way.PVH})
_HVM_SETTINGS = """
# The lab's own, over what is said above: libxlu takes the last of two.
serial = "file:/dev/ttyS1"
hdtype = "ahci"
vga = "none"
nographic = 1
vnc = 0
tsc_mode = "native"
"""
"""xl.cfg(5). The serial port goes where xenconsoled writes the guest's console: both are one transcript.

AHCI has DMA: IDE costs seconds under emulation. There is no screen, since nobody looks at one. Xen may not watch
the guest read its clock: QEMU 7.2's emulation tells it of `rdtscp` as of `rdtsc`, and Linux dies of that.
"""
_PVH = frozenset({Way.PVH, Way.PVH_PYGRUB, Way.MULTIBOOT})


@dataclass(frozen=True, slots=True)
class Network:
    """A link between dom0 and the guest: dom0's own address on it, and what dom0 fetches from the guest."""

    address: IPv4Interface
    url: SplitResult

    def request(self) -> bytes:
        """Return the HTTP/1.1 request for the page."""
        path = (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")
        lines = (f"GET {path} HTTP/1.1", f"Host: {self.url.netloc}", "User-Agent: imagekit", "Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest to start: the way, its memory in bytes, and for direct ways kernel, ramdisk and command line."""

    way: Way
    memory: int
    vcpus: int = 1
    disk: bool = True
    kernel: bytes = b""
    ramdisk: bytes = b""
    cmdline: str = ""
    network: Network | None = None

    @property
    def kind(self) -> Kind:
        """The kind of guest that Xen makes."""
        return kind_of(self.way)


def kind_of(way: Way) -> Kind:
    """Return the kind of guest that Xen makes for a way of booting."""
    if way is Way.HVM:
        return "hvm"
    return "pvh" if way in _PVH else "pv"


def job(guest: Guest) -> bytes:
    """Return the tar that dom0 gets."""
    cfg = xl_cfg(_domain(guest)) + (_HVM_SETTINGS if guest.kind == "hvm" else "")
    files = {"guest.cfg": cfg.encode(), "job.sh": _variables(guest)}
    if guest.way in DIRECT:
        files["kernel"] = guest.kernel
        if guest.ramdisk:
            files["ramdisk"] = guest.ramdisk
    if guest.network is not None:
        files["request"] = guest.network.request()
    return _tar(files)


def check_job(cfg: bytes) -> bytes:
    """Return the tar that has xl read a configuration, and start nothing."""
    return _tar({"guest.cfg": cfg, "job.sh": b"LAB_CHECK=1\n"})


def _domain(guest: Guest) -> Domain:
    direct = guest.way in DIRECT
    vif_type = "vif" if guest.kind == "hvm" else None  # an emulated card has a ROM, and takes its time
    return Domain(
        name="guest",
        kind=guest.kind,
        memory=guest.memory // _MIB,
        vcpus=guest.vcpus,
        disks=(Disk(path=DISK),) if guest.disk else (),
        vifs=(Vif(mac=_MAC, script="vif-lab", type=vif_type),) if guest.network else (),
        kernel="/lab/kernel" if direct else GRUBS.get(guest.way),
        ramdisk="/lab/ramdisk" if direct and guest.ramdisk else None,
        cmdline=guest.cmdline if direct else "",
        bootloader=f"{_LAB}/pygrub",
        # xl need not take down what goes with the machine: that costs an HVM guest two seconds.
        on_poweroff="preserve",
        on_reboot="preserve",
        on_crash="preserve",
    )


def _variables(guest: Guest) -> bytes:
    if guest.network is None:
        return b"\n"
    url = guest.network.url
    words = {"LAB_NETWORK": str(guest.network.address), "LAB_GET": f"{url.hostname} {url.port or 80}"}
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in words.items()).encode()


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
