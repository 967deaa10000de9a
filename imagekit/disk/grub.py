"""GRUB 2 for a BIOS (i386-pc) in the gap before the first partition: boot.img, the boot sector, and core.img.

grub-mkimage puts core.img together of GRUB's modules; what grub-bios-setup does to the two on a device is done to
a file here, without root. The format is GRUB 2.06's (include/grub/i386/pc/boot.h, grub-core/boot/i386/pc/boot.S
and diskboot.S, util/setup.c):

    boot.img    one sector. 0x5c: the sector of core.img, 8 bytes; 0x64: the BIOS's number of the drive, ff for the
                one it boots from; 0x66: a jump over the mending of that number, which some BIOSes need: two NOPs.
    core.img    its first sector loads the others by the list at that sector's end, which grows downwards; an entry
                has 12 bytes: first sector, number of sectors, segment in memory. grub-mkimage writes one, for a
                core.img that lies at sector 1 in one piece, as here.
"""

import hashlib
import os
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, cast

from imagekit import command
from imagekit.boot import CONSOLES
from imagekit.disk.layout import SECTOR
from imagekit.errors import ToolError
from imagekit.plan import Input, Json

_PACKAGE = "grub-pc-bin"
_FOLDERS = ("/usr/lib/grub/i386-pc", "/usr/share/grub/i386-pc")
_FORMAT = "i386-pc"
_PREFIX = "(hd0,msdos1)/boot/grub"  # the disk that the BIOS boots from is its first, GRUB's hd0
_ALWAYS = ("biosdisk", "part_msdos", "normal", "serial", "terminal", "echo", "test", "boot")
_MASKING = ("iorw",)

TABLE_AT = 0x1B8
"""Where a boot sector's code ends, and the MBR's signature and table begin."""
_SECTOR_AT, _DRIVE_AT, _CHECK_AT = 0x5C, 0x64, 0x66
_BOOTED_FROM = 0xFF
_JUMP, _NOPS = b"\xeb\x05", b"\x90\x90"
_SIGNATURE = b"\x55\xaa"
_LIST_AT = SECTOR - 12
_SEGMENT = 0x820
_ENTRY = struct.Struct("<QHH")

Area = bytes
"""What lies before the first partition: the boot sector, and core.img filled up to whole sectors."""


def grub_modules(filesystem: str, loading: str, *, packed: bool) -> tuple[str, ...]:
    """Return the modules by which GRUB finds grub.cfg on a file system, and loads a kernel by one of its commands.

    `packed` tells that it has to unpack it.
    """
    reader = "fat" if filesystem.startswith("fat") else "ext2"
    masking = () if loading == "linux" else _MASKING
    return (*_ALWAYS, reader, loading, *masking, *(("gzio",) if packed else ()))


def write_core(_inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Write the boot sector and GRUB's core, one behind the other. A step function; its option is `modules`.

    ToolError: grub-mkimage or GRUB's modules are not installed, or are of a form that is not known here.
    """
    folder = grub_folder()
    core, early = out.with_name("core.img"), out.with_name("early.cfg")
    early.write_text(CONSOLES)  # so that a cloud's log has what GRUB says where it finds no grub.cfg
    names = cast("list[str]", options["modules"])
    command.run(
        "grub-mkimage", "-O", _FORMAT, "-d", folder, "-p", _PREFIX, "-c", early, "-o", core, *names, timeout=60
    )
    out.write_bytes(boot_sector((folder / "boot.img").read_bytes()) + checked_core(core.read_bytes()))


def grub_folder(folders: Sequence[str] = _FOLDERS) -> Path:
    """Return the folder of GRUB's modules for a BIOS; ToolError names the package that brings it."""
    for folder in map(Path, folders):
        if (folder / "boot.img").is_file() and (folder / "kernel.img").is_file():
            return folder
    raise ToolError("GRUB for a BIOS is not installed", hint=f"sudo apt-get install {_PACKAGE}")


@cache
def grub_version() -> str:
    """Return grub-mkimage's version and the digest of the modules, which a core's bytes depend on.

    ToolError where one of them is missing.
    """
    told = command.version("grub-mkimage").rpartition(" ")[2]  # before it is where the program lies
    folder, digest = grub_folder(), hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".img", ".mod", ".lst"}:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return f"{told}, modules {digest.hexdigest()}"


def boot_sector(image: bytes) -> bytes:
    """Return boot.img as it goes on a hard disk; ToolError for one that is not laid out as is known here."""
    expected = {
        "a length of one sector": len(image) == SECTOR,
        "a boot sector's signature": image[-2:] == _SIGNATURE,
        "a jump over the BIOS parameter block": image[:1] == b"\xeb",
        "core.img at sector 1": image[_SECTOR_AT:_DRIVE_AT] == (1).to_bytes(8, "little"),
        "the drive that the BIOS boots from": image[_DRIVE_AT : _DRIVE_AT + 1] == bytes([_BOOTED_FROM]),
        "a check of the drive's number": image[_CHECK_AT : _CHECK_AT + 2] in {_JUMP, _NOPS},
    }
    _refuse("boot.img", expected)
    return image[:_CHECK_AT] + _NOPS + image[_CHECK_AT + 2 :]


def checked_core(image: bytes) -> bytes:
    """Return core.img in whole sectors; ToolError for one that does not load all of itself from sector 1 on."""
    sectors = -(-len(image) // SECTOR)
    first, count, segment = _ENTRY.unpack_from(image, _LIST_AT) if sectors > 1 else (0, 0, 0)
    expected = {
        "more than one sector": sectors > 1,
        "the rest of it at sector 2": first == 2,  # noqa: PLR2004 -- the boot sector is 0, its first sector 1
        "all of it in its list": count == sectors - 1,
        "its segment in memory": segment == _SEGMENT,
        "one piece": not any(image[_LIST_AT - _ENTRY.size : _LIST_AT]),
    }
    _refuse("core.img", expected)
    return image + bytes(sectors * SECTOR - len(image))


def put_grub(file: IO[bytes], area: Area, gap: int) -> None:
    """Write boot sector and core around the partition table of a disk whose first partition is at byte `gap`.

    ToolError for a core that does not fit before it.
    """
    if len(area) > gap:
        raise ToolError(
            f"GRUB's core of {len(area)} bytes does not fit before the first partition", details=f"{gap} bytes"
        )
    os.pwrite(file.fileno(), area[:TABLE_AT], 0)
    os.pwrite(file.fileno(), area[SECTOR:], SECTOR)


def core_of(disk: bytes) -> bytes:
    """Return the core that the boot sector at the beginning of a disk loads; ToolError for none of GRUB's."""
    boot_sector(disk[:SECTOR])
    count = _ENTRY.unpack_from(disk, SECTOR + _LIST_AT)[1] if len(disk) >= 2 * SECTOR else 0
    return checked_core(disk[SECTOR : (count + 2) * SECTOR])


def _refuse(what: str, expected: Mapping[str, bool]) -> None:
    missing = [name for name, there in expected.items() if not there]
    if missing:
        raise ToolError(
            f"this {what} of GRUB's is not one that is known here",
            details=f"it has not {missing[0]}",
            hint=f"GRUB 2.06, as Debian 12's {_PACKAGE} has it, is",
        )
