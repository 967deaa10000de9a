"""pv-grub.bin: a GRUB 2 that boots as a PV guest and obeys the menu.lst it finds, as Amazon's PV-GRUB does."""

import io
import tarfile
from pathlib import Path

from imagekit.prove.lab.data import data
from imagekit.prove.lab.host import run_unpacked

_MODULES = "usr/lib/grub/x86_64-xen"
_WANTED = (
    *("normal", "legacycfg", "linux", "configfile", "search", "search_fs_file", "regexp"),
    *("ext2", "fat", "part_msdos", "part_gpt", "memdisk", "tar"),
    *("gzio", "xzio", "lzopio", "gcry_crc"),  # xz checks its data by a CRC
    *("echo", "test", "true", "ls", "cat", "minicmd", "terminal", "sleep", "reboot", "halt", "read", "help"),
)


def make_pv_grub(unpacked: Path, scratch: Path, out: Path) -> None:
    """Make it from Debian's modules by Debian's grub-mkimage."""
    disk, first = scratch / "memdisk.tar", scratch / "first.cfg"
    disk.write_bytes(_memdisk(data("grub.cfg")))
    # An embedded script knows no `if`: that is for the one that `normal` runs.
    first.write_text("normal (memdisk)/grub.cfg\n")
    run_unpacked(
        unpacked, "usr/bin/grub-mkimage",
        *("-O", "x86_64-xen", "-d", unpacked / _MODULES, "-p", "(memdisk)"),
        *("-c", first, "-m", disk, "-o", out, *_WANTED),
    )  # fmt: skip


def _memdisk(script: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("grub.cfg")
        member.size = len(script)
        tar.addfile(member, io.BytesIO(script))
    return archive.getvalue()
