"""What pygrub, Xen's own loader on the host, takes out of an image: by each menu that it would read.

It prefers grub.cfg (and extlinux's menus) to menu.lst, so a wrong menu.lst would stay unseen. Each preferred menu
is removed, in a copy, until menu.lst is what is left: all of them have to say the same.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagekit.command import require
from imagekit.errors import ToolError, VerificationError
from imagekit.sparse import digest_file
from imagekit.verify import menu
from imagekit.verify.files import Files, files
from imagekit.verify.scratch import DISK, Scratch
from imagekit.verify.table import Spot

_LARGEST = 1 << 30  # bytes; a menu may name a file without end
_USING = re.compile(rb"^Using <class '[\w.]+'> to parse (/.+)$", re.MULTILINE)
_COPY = "copy"


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run took: the menu that it read, the kernel and the ramdisk (with its digest), the command line."""

    menu: str
    kernel: Path
    digest: str
    cmdline: str
    ramdisk: str

    @property
    def says(self) -> tuple[str, str, str]:
        """What two menus have to agree on."""
        return self.digest, self.cmdline, self.ramdisk


def take(room: Scratch, disk: str = DISK) -> Taken:
    """Run pygrub on a disk; VerificationError when it finds no kernel, ToolError when it is not installed."""
    require("pygrub")
    out = room.folder / f"taken-{disk}"
    out.mkdir(exist_ok=True)
    arguments = ("-q", "--output-format=simple0", f"--output-directory={out}", disk)
    done = room.run("pygrub", *arguments, limit=_LARGEST, ok=range(256))
    used = _USING.search(done.stderr)
    name = "" if used is None else used[1].decode(errors="replace")
    if done.status:
        raise VerificationError(
            f"pygrub finds no kernel{f' by {name}' if name else ''}",
            details=done.complaint().strip().splitlines()[-1],
        )
    told = dict(field.partition(" ")[::2] for field in done.text().split("\0"))
    ramdisk = digest_file(Path(told["ramdisk"])) if "ramdisk" in told else ""
    kernel = Path(told["kernel"])
    return Taken(name, kernel, digest_file(kernel), told.get("args", "").strip(), ramdisk)


def take_all(room: Scratch, spot: Spot, kind: str) -> Iterator[Taken]:
    """Yield what pygrub takes by its favourite menu, then by each that the last one hid, down to menu.lst."""
    taken = take(room)
    yield taken
    copy: Files | None = None
    while taken.menu != menu.PATH:
        copy = copy or _copied(room, spot, kind)
        if copy is None or not copy.exists(menu.PATH):
            return
        copy.remove(taken.menu)
        hidden, taken = taken.menu, take(room, _COPY)
        if taken.menu == hidden:
            raise ToolError(f"{hidden} could not be removed from a copy of the image")
        yield taken


def _copied(room: Scratch, spot: Spot, kind: str) -> Files | None:
    room.copy(_COPY)
    return files(room, _COPY, spot.offset, kind)
