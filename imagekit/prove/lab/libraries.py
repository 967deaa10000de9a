"""Which shared libraries the programs of the tree need: all of them, and no other."""

from collections.abc import Iterable
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from imagekit.errors import ToolError
from imagekit.prove.lab.names import XEN
from imagekit.prove.lab.tree import Tree

# Xen's own library lies apart; its programs know it by their RUNPATH.
_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", f"usr/lib/xen-{XEN}/lib/x86_64-linux-gnu")
_LOADER = "ld-linux-x86-64.so.2"


class Libraries:
    """The libraries of the unpacked packages, by the name that programs ask for."""

    def __init__(self, unpacked: Path) -> None:
        self._unpacked = unpacked
        self._files = {
            file.name: f"{folder}/{file.name}"
            for folder in _FOLDERS
            for file in (unpacked / folder).iterdir()
            if ".so" in file.name
        }

    def complete(self, program: str) -> bool:
        """Tell whether all that a program needs is at hand."""
        return all(name in self._files for name in self._needed(program))

    def take_for(self, tree: Tree, programs: Iterable[str]) -> None:
        """Put there what the programs need, and what that needs; ToolError names what no package brings."""
        todo = list(programs)
        while todo:
            program = todo.pop()
            for name in self._needed(program):
                if name not in self._files:
                    raise ToolError(f"/{program} needs {name}, which no package of the lab brings")
                todo += self._take(tree, self._files[name])

    def _take(self, tree: Tree, path: str) -> list[str]:
        """Put a library there, by all links on the way to it; what is new is returned."""
        target = (self._unpacked / path).resolve()
        name = path if path.startswith("usr/") else f"usr/{path}"
        if name in tree:
            return []
        # One file by the name that is asked for: links to versions are nothing to dom0.
        tree.file(name, target.read_bytes(), executable=True)
        return [path]

    def _needed(self, program: str) -> list[str]:
        with (self._unpacked / program).open("rb") as stream:
            section = ELFFile(stream).get_section_by_name(".dynamic")
            if not isinstance(section, DynamicSection):
                return []
            needed: list[str] = [tag.needed for tag in section.iter_tags("DT_NEEDED")]  # type: ignore[attr-defined]
        return [name for name in needed if name != _LOADER]
