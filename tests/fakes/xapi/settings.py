"""What a pool is like: product, storage, networks, hosts, and how guests fare."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True)
class Product:
    """A release of a product. `release` is that of xapi, as the datamodel counts."""

    brand: str
    version: str
    platform: str
    xen: str
    release: str
    xapi: tuple[int, int] = (1, 20)
    paravirtual: bool = True
    # Before 2015 a raw import reads to the next 2 MiB boundary, whatever Content-Length says.
    reads_blocks: bool = False
    guest_folder: str = "/var/lib/xcp/guest/"


XENSERVER_6_5 = Product(
    "XenServer", "6.5.0", "1.9.0", "4.4.1", "creedence", (1, 3), reads_blocks=True, guest_folder="/boot/guest/"
)
XCP_NG_8_1 = Product("XCP-ng", "8.1.0", "3.1.0", "4.13.0", "quebec", guest_folder="/boot/guest/")
XCP_NG_8_2 = Product("XCP-ng", "8.2.1", "3.2.1", "4.13.1", "stockholm", guest_folder="/boot/guest/")
XCP_NG_8_3 = Product("XCP-ng", "8.3.0", "3.4.0", "4.17.5", "24.39.1", (24, 39), paravirtual=False)


@dataclass(frozen=True)
class Storage:
    """An SR. `vhd` says that an lvm SR keeps VHDs; others with a file system do by nature."""

    name: str
    type: str = "ext"
    size: int = 100 * GIB
    vhd: bool = True
    content_type: str = "user"
    shared: bool = False
    host: int = 0  # where it is plugged in when it is not shared; the master is 0
    plugged: bool = True

    @property
    def thick(self) -> bool:
        """Whether a VDI takes all its room at once."""
        return self.type.startswith("lvm")


@dataclass(frozen=True)
class Bridge:
    """A network and the bridge it goes by."""

    name: str
    bridge: str


@dataclass(frozen=True)
class Machine:
    """A host of the pool; all of them listen on one port, each on an address of its own."""

    name: str
    address: str


@dataclass(frozen=True)
class Settings:
    """All of it. Faults: tests/fakes/xapi/faults.py."""

    product: Product = XCP_NG_8_3
    user: str = "root"
    password: str = "correct horse"  # noqa: S105 -- a test's
    hosts: tuple[Machine, ...] = (Machine("master", "127.0.0.1"),)
    storage: tuple[Storage, ...] = (Storage("Local storage"),)
    default_sr: str = "Local storage"  # "" is OpaqueRef:NULL; a name that is no SR's, a reference to nothing
    networks: tuple[Bridge, ...] = (Bridge("Pool-wide network associated with eth0", "xenbr0"),)
    memory: int = 8 * GIB
    hvm: bool = True
    # What dom0's guest folder holds, for PV_kernel and PV_ramdisk.
    guest_files: frozenset[str] = frozenset()
    # Looks at a PV guest's disk: disk, bootloader, its arguments -> what is wrong, or nothing.
    bootloader: Callable[[Path, str, str], str] | None = None
    dies_after: float | None = None  # seconds after its start a guest is halted again
    # What a guest writes on its console: after so many seconds of running, these bytes.
    says: tuple[tuple[float, bytes], ...] = ()
    latency: float = 0.0
    release_after: float = 0.2  # seconds a VDI stays in use after an import was cut off
    faults: tuple[str, ...] = ()
