"""An artifact, and the means to make it lie."""

import json
from collections.abc import Callable
from pathlib import Path

from imagekit.artifact import sidecar_path
from imagekit.command import run
from imagekit.sparse import digest_file, map_blocks

MENU = "/boot/grub/menu.lst"
GRUB_CFG = "/boot/grub/grub.cfg"
MIB = 1 << 20


class Lie:
    """An artifact and its sidecar, to be changed. After a change of the image its digests are made true again."""

    def __init__(self, main: Path) -> None:
        self.main = main
        self.sidecar = sidecar_path(main)

    def tell(self, place: str, value: object) -> None:
        """Change one value of the sidecar; `place` is keys with dots, "/" in one stands for a dot."""
        content = json.loads(self.sidecar.read_bytes())
        *outer, last = (key.replace("/", ".") for key in place.split("."))
        table = content
        for key in outer:
            table = table[key]
        table[last] = value
        self.sidecar.write_text(json.dumps(content))

    def forget(self, place: str) -> None:
        content = json.loads(self.sidecar.read_bytes())
        content.pop(place)
        self.sidecar.write_text(json.dumps(content))

    def put(self, at: int, data: bytes) -> None:
        """Overwrite bytes of the image."""
        with self.main.open("r+b") as file:
            file.seek(at)
            file.write(data)
        self.seal()

    def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
        """Replace a file in an ext file system."""
        source = self.main.with_name("new-content")
        source.write_bytes(data)
        image = f"{self.main}?offset={offset}"
        run("debugfs", "-w", "-R", f"rm {path}", image)
        run("debugfs", "-w", "-R", f"write {source} {path}", image)
        self.seal()

    def remove(self, path: str, *, offset: int = 0) -> None:
        """Remove a file from an ext file system."""
        run("debugfs", "-w", "-R", f"rm {path}", f"{self.main}?offset={offset}")
        self.seal()

    def companion(self, suffix: str, old: str, new: str) -> None:
        """Edit a companion, and have the sidecar agree."""
        path = self.main.with_name(self.main.name + suffix)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self.tell(f"companions.{suffix.replace('.', '/')}", digest_file(path))

    def seal(self) -> None:
        blocks = map_blocks(self.main)
        self.tell("digest", blocks.digest)
        self.tell("length", blocks.length)
        if "blocks" in json.loads(self.sidecar.read_bytes()):
            self.tell("blocks", [[index, digest.hex()] for index, digest in blocks.blocks])


Built = Callable[..., Lie]
"""What the fixture `artifact` returns."""
