"""Makes a lab's files out of the unpacked packages."""

import gzip
import shutil
from mmap import ACCESS_READ, mmap
from pathlib import Path

from imagekit.errors import ToolError
from imagekit.kernel.bzimage import unpack_payload
from imagekit.kernel.wrapping import LIMIT
from imagekit.prove.lab.cpio import newc
from imagekit.prove.lab.dom0 import dom0
from imagekit.prove.lab.grub import make_pv_grub
from imagekit.prove.lab.names import XEN
from imagekit.prove.lab.variants import Variant

_PVH_GRUB = "usr/lib/grub-xen/grub-i386-xen_pvh.bin"


def make(unpacked: Path, scratch: Path, out: Path, variant: Variant) -> None:
    """Make all of a lab but its record in the folder `out`; scratch files go to `scratch`."""
    with gzip.open(unpacked / "boot" / f"xen-{XEN}-amd64.gz") as packed, (out / "xen").open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    kernel = _kernel(unpacked / "boot")
    _take_vmlinux(kernel, out / "vmlinux")
    if not variant.device_model:
        make_pv_grub(unpacked, scratch, out / "pv-grub.bin")
        shutil.copyfile(unpacked / _PVH_GRUB, out / "pvh-grub.bin")
    tree = dom0(unpacked, kernel.name.removeprefix("vmlinuz-"), out, variant)
    with (out / "dom0.img").open("wb") as image:
        image.writelines(newc(tree.entries()))


def _kernel(boot: Path) -> Path:
    found = list(boot.glob("vmlinuz-*"))
    if len(found) != 1:
        raise ToolError("the packages bring no kernel, or several", details="\n".join(map(str, found)))
    return found[0]


def _take_vmlinux(kernel: Path, out: Path) -> None:
    """Take the ELF file out of a bzImage: Xen would unpack it under emulation, which costs 7 s."""
    with kernel.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as packed:
        elf, _ = unpack_payload(packed, LIMIT)
    out.write_bytes(elf)
