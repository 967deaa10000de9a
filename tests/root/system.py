"""A small system: a shell and some programs of this machine's, with the libraries that they need, and a kernel."""

import re
import shutil
from pathlib import Path

from imagekit.command import run

PROGRAMS = ("dash", "ls", "cat", "id", "mkdir", "touch", "chmod", "chown", "mknod", "sleep", "env", "ln", "rm")


def make_system(tree: Path, kernel: Path) -> Path:
    """Make the tree in a new folder, and return it."""
    for name in ("bin", "boot", "dev", "etc", "proc", "root", "tmp", "home/me"):
        (tree / name).mkdir(parents=True)
    for name in PROGRAMS:
        path = Path(shutil.which(name) or "").resolve()
        shutil.copy(path, tree / "bin" / name)
        said = run("ldd", path).text()
        for library in re.findall(r"(/\S+) \(0x", said):
            (tree / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, tree / library[1:])
    (tree / "bin" / "sh").symlink_to("dash")
    shutil.copy(kernel, tree / "boot" / "vmlinuz-6.1")
    (tree / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nme:x:1000:1001::/home/me:/bin/sh\n")
    return tree
