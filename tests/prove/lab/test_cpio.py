import stat
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.programs import find
from imagekit.prove.lab import cpio
from imagekit.prove.lab.cpio import Entry, newc

_HEADER = 110

names = st.lists(st.text("abc.-é", min_size=1, max_size=5), min_size=1, max_size=3).map("/".join)
kinds = st.sampled_from((stat.S_IFREG | 0o644, stat.S_IFREG | 0o755, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777))
trees = st.lists(
    st.builds(Entry, names, kinds, st.binary(max_size=40)), max_size=12, unique_by=lambda entry: entry.name
)


def _members(archive: bytes) -> Iterator[tuple[Entry, dict[str, int]]]:
    """Read an archive as the kernel's initramfs.c does: field by field, padded to four bytes."""
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        inode, mode, user, group, links, time, size, *_, name_size, check = fields
        name = archive[at + _HEADER : at + _HEADER + name_size]
        assert name.endswith(b"\0")
        start = at + (_HEADER + name_size + 3) // 4 * 4
        entry = Entry(name[:-1].decode(), mode, archive[start : start + size])
        if entry.name == "TRAILER!!!":
            assert not archive[start:].strip(b"\0")
            return
        yield entry, {"inode": inode, "owner": user + group, "links": links, "time": time, "check": check}
        at = start + (size + 3) // 4 * 4


@given(trees)
def test_what_goes_in_comes_out_sorted(entries: list[Entry]) -> None:
    archive = b"".join(newc(entries))
    read = list(_members(archive))
    assert len(archive) % 512 == 0
    assert [entry for entry, _ in read] == sorted(entries, key=lambda entry: entry.name.split("/"))
    assert [said["inode"] for _, said in read] == list(range(1, len(entries) + 1))
    assert all(said["owner"] == said["time"] == said["check"] == 0 for _, said in read)


@given(trees, st.randoms())
def test_the_order_they_come_in_does_not_matter(entries: list[Entry], random: object) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert b"".join(newc(entries)) == b"".join(newc(shuffled))


def test_a_folder_comes_before_what_is_in_it_whatever_their_names() -> None:
    entries = [cpio.file("a/b", b""), cpio.file("a-b", b""), cpio.folder("a")]
    assert [entry.name for entry, _ in _members(b"".join(newc(entries)))] == ["a", "a/b", "a-b"]


def test_cpio_itself_reads_it(tmp_path: Path) -> None:
    archive = b"".join(
        newc([cpio.folder("bin"), cpio.file("bin/sh", b"x" * 5, executable=True), cpio.link("sh", "bin/sh")])
    )
    if find("cpio") is None:  # the parser above knows the format as well
        return
    listed = run("cpio", "-itv", "--quiet", stdin=archive, cwd=tmp_path).text().splitlines()
    assert [line.split()[0] for line in listed] == ["drwxr-xr-x", "-rwxr-xr-x", "lrwxrwxrwx"]
    assert listed[2].endswith("sh -> bin/sh")
