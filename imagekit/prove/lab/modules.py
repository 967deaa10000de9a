"""Kernel modules, in the order in which they have to be loaded."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from imagekit.errors import ToolError
from imagekit.prove.lab.tree import Tree

ALWAYS = ("virtio_pci", "virtio_blk", "xen-privcmd", "xen-evtchn", "xen-gntdev", "xenfs", "xen-blkback")
"""Loaded at every boot."""

NETWORK = ("xen-netback",)
"""Loaded when a job wants a network."""

_DEPENDS = re.compile(rb"(?:^|\0)depends=([^\0]*)\0")


class Modules:
    """The modules of an unpacked kernel."""

    def __init__(self, folder: Path) -> None:
        self._files = {_plain(file.stem): file for file in folder.rglob("*.ko")}
        self._built_in = {_plain(Path(line).stem) for line in (folder / "modules.builtin").read_text().split()}

    def take(self, tree: Tree, listing: str, names: Iterable[str]) -> None:
        """Put modules and what they depend on into the tree, and a file that lists their paths in order."""
        order = dict.fromkeys(file for name in names for file in self._with_needed(name))
        for file in order:
            tree.file(f"modules/{file.name}", file.read_bytes())
        tree.file(listing, "".join(f"/modules/{file.name}\n" for file in order).encode())

    def file(self, name: str) -> Path:
        """Return where a module lies; ToolError when there is none of that name."""
        name = _plain(name)
        if name not in self._files:
            raise ToolError(f"Debian's kernel has no module {name}")
        return self._files[name]

    def _with_needed(self, name: str) -> Iterator[Path]:
        name = _plain(name)
        if name in self._built_in:
            return
        file = self.file(name)
        found = _DEPENDS.search(file.read_bytes())
        for other in found[1].decode().split(",") if found else ():
            if other:
                yield from self._with_needed(other)
        yield file


def _plain(name: str) -> str:
    return name.replace("-", "_")
