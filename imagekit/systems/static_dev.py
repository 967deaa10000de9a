"""A tree's /dev: diskimage-builder packs the building machine's, which is mounted there while it makes its tar.

What Linux has under each name, and its modes, are those of its Documentation/admin-guide/devices.txt and of
devtmpfs, which systems mount over it when they boot. Before that an init needs a console and null.
"""

import tarfile
from pathlib import Path

_NODES = {"console": (5, 1), "full": (1, 7), "null": (1, 3), "ptmx": (5, 2), "random": (1, 8), "tty": (5, 0),
          "urandom": (1, 9), "zero": (1, 5)}  # fmt: skip
_FOLDERS = ("./proc", "./sys")
"""diskimage-builder leaves them out, and systemd mounts there."""
_PIECE = 1 << 20  # bytes


def settle(made: Path, out: Path) -> None:
    """Write the tar that diskimage-builder made with the same /dev everywhere, and empty /proc and /sys."""
    with tarfile.open(made, "r:") as tar, made.open("rb") as file, out.open("wb") as kept:
        for info in iter(tar.next, None):
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has seen
            if info.name.removeprefix("./").startswith("dev/"):
                continue
            file.seek(info.offset)
            left = tar.offset - info.offset
            while left:
                piece = file.read(min(left, _PIECE))
                kept.write(piece)
                left -= len(piece) or left
        kept.write(bytes(2 * tarfile.BLOCKSIZE))  # the end
    with tarfile.open(out, "a:") as tar:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o555
            tar.addfile(folder)
        for name, (major, minor) in _NODES.items():
            node = tarfile.TarInfo(f"./dev/{name}")
            node.type, node.mode = tarfile.CHRTYPE, 0o600 if name == "console" else 0o666
            node.devmajor, node.devminor = major, minor
            tar.addfile(node)
