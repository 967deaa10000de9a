"""Small images, made by the tools of the trade: mke2fs, mkfs.fat, mtools and sfdisk."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagekit.command import run

MIB = 1 << 20
TABLES = {"mbr": ("label: dos\nlabel-id: 0x1234abcd\n", "83, *"), "gpt": ("label: gpt\n", "L")}


@pytest.fixture
def make_disk(tmp_path: Path) -> Callable[..., Path]:
    """Return make_disk(files, fs="ext2", table="none", mib=8, options=()): the image of one file system.

    `files` maps paths to bytes, or to a text for a link's target; a table puts the file system 1 MiB further.
    """

    def make(
        files: Mapping[str, bytes | str],
        *,
        fs: str = "ext2",
        table: str = "none",
        mib: int = 8,
        options: tuple[str, ...] = (),
    ) -> Path:
        folder, image = tmp_path / "files", tmp_path / "disk.img"
        _write(folder, files)
        offset = MIB if table != "none" else 0
        with image.open("wb") as file:
            file.truncate(mib * MIB + 2 * offset)
        if table != "none":
            head, kind = TABLES[table]
            run("sfdisk", "-q", image, stdin=f"{head}2048,{mib * 2048},{kind}\n".encode())
        if fs.startswith("ext"):
            where = ("-E", f"offset={offset}", "-d", folder, image, f"{mib}M")
            run("mke2fs", "-q", "-F", "-t", fs, "-b", "1024", *options, *where)
        else:
            _make_fat(image, folder, fs, offset, mib, options)
        return image

    return make


def _write(folder: Path, files: Mapping[str, bytes | str]) -> None:
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)


def _make_fat(image: Path, folder: Path, fs: str, offset: int, mib: int, options: tuple[str, ...]) -> None:
    where = ("--offset", str(offset // 512), image, str(mib * 1024))
    run("mkfs.fat", "-F", fs.removeprefix("FAT"), "-i", "12345678", *options, *where)
    children = sorted(folder.iterdir())
    if children:
        run("mcopy", "-s", "-i", f"{image}@@{offset}", *children, "::/")
