"""A tree is unpacked below its folder or not at all, and a source that changed is noticed."""

import io
import tarfile
from pathlib import Path

import pytest

from imagekit.errors import BuildError
from imagekit.executor import SourceInput
from imagekit.filesystem import stage
from imagekit.root import Member
from imagekit.root.tree import Reference, first_entry, to_tarinfo


def written(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(first_entry(members, {}))
        for member in (member for member in members if member.reference is None):
            tar.addfile(to_tarinfo(member), io.BytesIO(b"x" * member.size))
    return path


def test_what_lies_in_the_tar_and_what_does_not(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"12345")
    root = written(
        tmp_path / "root",
        Member("d", "dir", 0o700),
        Member("empty", "dir"),
        Member("d/in", "file", 0o4000, size=3),
        Member("d/link", "link", target="/etc"),
        Member("node", "char", device=(1, 3)),
        Member("out", "file", size=5, reference=Reference("files", "file")),
        Member("in too", "hard", target="d/in"),
        Member("link too", "hard", target="d/link"),
        Member("node too", "hard", target="node"),
        Member("out too", "hard", target="out"),
    )
    staged = stage(root, {"files": SourceInput(tmp_path / "source")}, tmp_path / "staged")
    assert [member.path for member in staged.inside] == ["d/in", "d/link", "in too", "d"]
    assert [member.path for member in staged.outside] == [
        "out",
        "node",
        "link too",
        "node too",
        "out too",
        "empty",
    ]
    assert staged.sources == {"out": str(tmp_path / "source" / "file")}
    assert (tmp_path / "staged" / "in too").read_bytes() == b"xxx"
    assert (tmp_path / "staged" / "in too").stat().st_nlink == 2


def test_a_source_that_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    root = written(tmp_path / "root", Member("out", "file", size=5, reference=Reference("files", "file")))
    with pytest.raises(BuildError, match="file changed while the image was built"):
        stage(root, {"files": SourceInput(tmp_path)}, tmp_path / "staged")


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "a/../../b"])
def test_nothing_is_unpacked_outside(name: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="outside of the tree"):
        stage(written(tmp_path / "root", Member(name, "file", size=1)), {}, tmp_path / "staged")
    assert list((tmp_path / "staged").iterdir()) == []
