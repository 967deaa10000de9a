"""FAT12, FAT16 and FAT32, held against mtools; and broken."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.inspect.tree import walk
from imagekit.inspect.volumes import Volume, named, open_volume
from imagekit.inspect.volumes.fat import FatVolume
from imagekit.inspect.window import Window

MakeDisk = Callable[..., Path]
FILES: dict[str, bytes | str] = {
    "boot/grub/menu.lst": b"default 0\n",
    "boot/app.xen": bytes(range(256)) * 500,
    "UPPER.TXT": b"u",
    "lower.txt": b"l",
    "a long name, with Ünicode.dat": b"long" * 3000,
    "empty": b"",
    **{f"many/{index:03}.a long name to fill clusters": b"" for index in range(100)},
}
KINDS = [("FAT12", 4), ("FAT16", 16), ("FAT32", 40)]


def opened(image: Path) -> Volume:
    data = image.read_bytes()
    volume = open_volume(Window(io.BytesIO(data), 0, len(data)))
    assert volume is not None
    return volume


@pytest.mark.parametrize("kind,mib", KINDS)
def test_files_and_clusters_are_as_mtools_has_them(make_disk: MakeDisk, kind: str, mib: int) -> None:
    image = make_disk(FILES, fs=kind, mib=mib, options=("-n", "NAME"))
    volume = opened(image)
    assert isinstance(volume, FatVolume)
    found = volume.describe(0)
    assert (found.kind, found.uuid, found.label) == (kind, "1234-5678", "NAME")
    for name, content in FILES.items():
        node = volume.find(name)
        assert node is not None
        assert volume.read(node, 1 << 20) == content
        told = run("mshowfat", "-i", image, f"::/{name}").text()
        ranges = [(int(a), int(b or a)) for a, b in re.findall(r"<(\d+)(?:-(\d+))?>", told)]
        size = volume.layout.cluster
        mine = [(run.start - volume.layout.data_at) // size + 2 for run in volume.runs(node)]
        assert mine == [first for first, _ in ranges]
        assert sum(run.length // size for run in volume.runs(node)) == sum(b - a + 1 for a, b in ranges)
    names = {entry.path for entry in walk(volume, ()).entries if entry.kind == "file"}
    assert names == {f"/{name}" for name in FILES}


@pytest.mark.parametrize("kind,mib", KINDS)
def test_every_cluster_in_use_is_told_apart(make_disk: MakeDisk, kind: str, mib: int) -> None:
    volume = opened(make_disk(FILES, fs=kind, mib=mib))
    claimed = sorted((part.start, part.end) for part in walk(volume, ()).segments)
    used = sum(length for _, length in volume.used())
    root = sum(part.length for part in volume.fixed() if part.label == "/")
    assert used == sum(end - start for start, end in claimed) - root
    found = volume.describe(0)
    assert (found.blocks - found.free_blocks) * found.block_size == used


def test_names_are_found_whatever_their_case(make_disk: MakeDisk) -> None:
    volume = opened(make_disk(FILES, fs="FAT16", mib=16))
    assert volume.find("/BOOT/Grub/MENU.LST") is not None
    assert volume.find("/a LONG name, with ünicode.DAT") is not None
    assert volume.find("/empty/x") is None


def test_erased_entries_are_passed_over(make_disk: MakeDisk) -> None:
    image = make_disk(FILES, fs="FAT16", mib=16)
    run("mdel", "-i", image, "::/lower.txt", "::/a long name, with Ünicode.dat")
    volume = opened(image)
    names = {name for name, _ in volume.children(volume.root())}
    assert names == {b"boot", b"UPPER.TXT", b"empty", b"many"}


@pytest.mark.parametrize(
    "at,new",
    [(11, b"\1"), (13, b"\0"), (13, b"\3"), (14, b"\0\0"), (16, b"\7"), (21, b"\1"), (0, b"\0"), (510, b"\0")],
)
def test_a_boot_sector_that_makes_no_sense_is_none(make_disk: MakeDisk, at: int, new: bytes) -> None:
    data = bytearray(make_disk({}, fs="FAT16", mib=16).read_bytes())
    data[at : at + len(new)] = new
    window = Window(io.BytesIO(data), 0, len(data))
    assert open_volume(window) is None
    assert named.name(window, 0) is None


@settings(max_examples=150)
@given(data=st.data())
def test_no_bytes_make_it_raise(fats: list[bytes], data: st.DataObject) -> None:
    image = bytearray(data.draw(st.sampled_from(fats)))
    places = st.one_of(st.integers(11, 90), st.integers(512, 12_000))
    for at, new in data.draw(st.lists(st.tuples(places, st.binary(min_size=1, max_size=4)), max_size=10)):
        image[at : at + len(new)] = new
    volume = open_volume(Window(io.BytesIO(image), 0, len(image)))
    if volume is None:
        return
    volume.describe(0)
    walk(volume, ())
    assert all(length > 0 for _, length in volume.used())
    assert all(part.length >= 0 for part in volume.fixed())


@pytest.fixture(scope="module")
def fats(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    made = []
    for kind, options in (("12", ("1024",)), ("16", ("8192",)), ("32", ("36864",))):
        image = tmp_path_factory.mktemp("fat") / "image"
        run("mkfs.fat", "-C", "-F", kind, "-s", "1", image, *options)
        run("mmd", "-i", image, "::/boot")
        run("mcopy", "-i", image, "-", "::/boot/a long name.txt", stdin=b"content" * 500)
        made.append(image.read_bytes()[: 1 << 20])
    return made
