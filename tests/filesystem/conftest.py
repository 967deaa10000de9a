"""File systems made from folders and tars, and what e2fsprogs and mtools read in them."""

import io
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.disk import write_disk
from imagekit.executor import SourceInput
from imagekit.root import write_root

EPOCH = 946684800


@dataclass(frozen=True)
class Stat:
    """What debugfs tells of an inode."""

    kind: str
    mode: int
    uid: int
    gid: int
    links: int
    size: int
    mtime: int
    text: str


@dataclass(frozen=True)
class Image:
    """A file system alone in a file, with e2fsprogs' and mtools' view of it."""

    path: Path

    def debugfs(self, command: str) -> str:
        return run("debugfs", "-R", command, self.path).stdout.decode("utf-8", "surrogateescape")

    def stat(self, path: str) -> Stat:
        text = self.debugfs(f'stat "{path}"')
        pattern = (
            r"Type: (.+?)\s+Mode:\s+(\d+).*User:\s+(-?\d+)\s+Group:\s+(-?\d+).*?Size: (\d+).*"
            r"Links: (\d+).*?mtime: 0x(\w+):(\w+)"
        )
        found = re.search(pattern, text, re.DOTALL)
        assert found, text
        kind, mode, uid, gid, size, links, mtime, extra = found.groups()
        # The older field is signed.
        seconds = (int(mtime, 16) ^ 1 << 31) - (1 << 31) + ((int(extra, 16) & 3) << 32)
        return Stat(kind, int(mode, 8), int(uid), int(gid), int(links), int(size), seconds, text)

    def dumped(self) -> Path:
        """Return a folder with what debugfs reads, lost+found left out."""
        folder = Path(tempfile.mkdtemp(dir=self.path.parent))
        run("debugfs", "-R", f'rdump / "{folder}"', self.path)
        (folder / "lost+found").rmdir()
        return folder

    def mcopied(self) -> Path:
        folder = Path(tempfile.mkdtemp(dir=self.path.parent))
        run("mcopy", "-s", "-n", "-i", self.path, "::/*", folder, env={"MTOOLS_SKIP_CHECK": "1"})
        return folder

    def check(self, kind: str) -> None:
        if kind.startswith("fat"):
            run("fsck.fat", "-n", self.path)
        else:
            run("e2fsck", "-f", "-n", self.path)

    def superblock(self) -> Mapping[str, str]:
        lines = run("dumpe2fs", "-h", self.path).text().splitlines()
        return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


Fill = Callable[..., Image]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Return a function that makes an image of folders, tars and files: fill(path…, kind="ext2", …)."""

    def fill_it(
        *trees: Path,
        kind: str = "ext2",
        block_size: int = 0,
        size: int | None = None,
        disk: int | None = None,
        free: int = 0,
        label: str = "",
        epoch: int = EPOCH,
    ) -> Image:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        files = {f"files-{number}": SourceInput(tree) for number, tree in enumerate(trees)}
        root = {"trees": [{"input": name, "to": "/"} for name in files], "files": {}, "epoch": epoch}
        write_root(files, folder / "root", root)
        options = {
            "layout": "plain",
            "disk_size": disk,
            "filesystem_size": size,
            "unit": 1 << 20,
            "free": free,
            "type": kind,
            "label": label,
            "block_size": block_size,
            "epoch": epoch,
        }
        write_disk({"root": SourceInput(folder / "root"), **files}, folder / "disk", options)
        return Image(folder / "disk")

    return fill_it


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a tar: pack((TarInfo, bytes)…)."""
    return lambda *members: packed(tmp_path / f"tree-{len(os.listdir(tmp_path))}.tar", *members)


def contents(folder: Path) -> dict[str, object]:
    """Return relative path -> bytes, link target or None for a folder."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = os.fsdecode(os.path.relpath(path, folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else None
    return found


@pytest.fixture
def content() -> Callable[[Path], dict[str, object]]:
    """Return the function that lists a folder's content."""
    return contents
