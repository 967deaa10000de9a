"""Where other programs lie, and which Debian packages bring them."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from imagekit.errors import ToolError

# Where Debian keeps what only root is expected to run; an ordinary user's PATH lacks it.
_ADMIN_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
# Debian keeps Xen's programs out of every PATH.
_XEN_FOLDERS = "/usr/lib/xen-*/bin"

# program -> the Debian package that brings it
PACKAGES: Mapping[str, str] = {
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "mkfs.fat": "dosfstools",
    "fsck.fat": "dosfstools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "mdel": "mtools",
    "mdir": "mtools",
    "mshowfat": "mtools",
    "sfdisk": "fdisk",
    "blkid": "util-linux",
    "prlimit": "util-linux",
    "guestfish": "guestfish",
    "sgdisk": "gdisk",
    "grub-mkimage": "grub-common",
    "pygrub": "xen-utils-4.17",
    "virt-xml-validate": "libvirt-clients",
    "chromium": "chromium",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "newuidmap": "uidmap",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "dpkg": "dpkg",
    "apt-cache": "apt",
    "fstrim": "util-linux",
    "losetup": "mount",
    "umount": "mount",
    "mkfs.ext4": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "yumdownloader": "yum-utils",
}


def find(program: str) -> str | None:
    """Return the program's path, looked for in PATH, the sbin folders and Xen's own, or None."""
    path = os.environ.get("PATH", os.defpath)
    found = shutil.which(program, path=os.pathsep.join((path, *_ADMIN_FOLDERS)))
    if found is None:
        for folder in sorted(Path("/").glob(_XEN_FOLDERS.lstrip("/")), reverse=True):
            found = found or shutil.which(program, path=str(folder))
    return found


def require(program: str) -> str:
    """Return the program's path; ToolError names the package that brings it."""
    found = find(program)
    if found is None:
        raise ToolError(
            f"{program} is not installed",
            hint=f"sudo apt-get install {PACKAGES.get(program, program)}",
        )
    return found
