"""What pygrub, Xen's own loader on the host, takes out of an image: as it is, and by menu.lst.

It prefers grub.cfg to menu.lst, so a wrong menu.lst would stay unseen. Its second run is on a copy in which
nothing is left that it prefers.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from imagekit.boot import BEFORE_MENU_LST
from imagekit.errors import ToolError, VerificationError
from imagekit.programs import require
from imagekit.sparse import digest_file
from imagekit.verify import menu
from imagekit.verify.files import files
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


def take_by_menu(room: Scratch, spot: Spot, kind: str) -> Taken | None:
    """Run pygrub on a copy without what it prefers to menu.lst; None where there is no menu.lst."""
    room.copy(_COPY)
    copy = files(room, _COPY, spot.offset, kind)
    if copy is None or not copy.exists(menu.PATH):
        return None
    for path in filter(copy.exists, BEFORE_MENU_LST):
        copy.remove(path)
    taken = take(room, _COPY)
    if taken.menu != menu.PATH:
        raise ToolError(
            f"this pygrub prefers {taken.menu} to {menu.PATH}", hint="it is of a Xen that we do not know"
        )
    return taken
