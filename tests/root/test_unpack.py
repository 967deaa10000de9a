"""A root tar unpacked where commands run in it: what runs them has a namespace and an environment of its own."""

import os
import stat
import tarfile
from pathlib import Path

import pytest

from imagekit.errors import BuildError
from imagekit.root import Member
from imagekit.root.inside import _mount_points, _name_servers, _option, _shown
from imagekit.root.unpack import unpack
from tests.root.conftest import EPOCH, Compose

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices are root's to give")


def add(tar: tarfile.TarFile, name: str, kind: bytes, *, mode: int = 0o644, **more: object) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, 7, 8, EPOCH - 5
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    path = tmp_path / "system.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "etc", tarfile.DIRTYPE, mode=0o750)
        add(tar, "etc/a", tarfile.REGTYPE, mode=0o4755, pax_headers={"SCHILY.xattr.user.note": "kept"})
        add(tar, "etc/b", tarfile.LNKTYPE, linkname="etc/a")
        add(tar, "etc/link", tarfile.SYMTYPE, linkname="/nowhere")
        add(tar, "etc/pipe", tarfile.FIFOTYPE)
        add(tar, "etc/null", tarfile.CHRTYPE, devmajor=1, devminor=3)
    return path


def test_all_that_a_tree_holds(system: Path, compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text").write_text("by reference")
    root = compose(system, (tmp_path / "data", "/srv"))
    out = tmp_path / "out"
    assert unpack(root, {"files-0": system, "files-1": tmp_path / "data"}, out) == []
    seen = {path.name: path.lstat() for path in (out / "etc").iterdir()}
    assert {(one.st_uid, one.st_gid) for one in seen.values()} == {(7, 8)}
    assert (out / "etc").stat().st_mode & 0o7777 == 0o750
    assert seen["a"].st_mode & 0o7777 == 0o4755
    assert seen["a"].st_ino == seen["b"].st_ino
    assert os.getxattr(out / "etc" / "a", "user.note") == b"kept"
    assert (out / "etc" / "link").readlink() == Path("/nowhere")
    assert stat.S_ISFIFO(seen["pipe"].st_mode)
    assert stat.S_ISCHR(seen["null"].st_mode)
    assert seen["null"].st_rdev == os.makedev(1, 3)
    assert int(seen["a"].st_mtime) == EPOCH - 5
    assert (out / "srv" / "text").read_text() == "by reference"


def test_a_source_that_became_shorter(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text").write_text("by reference")
    root = compose(tmp_path / "data")
    (tmp_path / "data" / "text").write_text("short")
    with pytest.raises(BuildError, match="/text changed while the image was built"):
        unpack(root, {"files-0": tmp_path / "data"}, tmp_path / "out")


def test_what_cannot_be_made_there(
    system: Path, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("not in this namespace")

    root = compose(system)
    with monkeypatch.context() as patch:
        patch.setattr(os, "mknod", refuse)
        with pytest.raises(PermissionError):  # a pipe is everybody's to make
            unpack(root, {"files-0": system}, tmp_path / "one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "setxattr", refuse)
        with pytest.raises(BuildError, match="/etc/a cannot be made as it is"):
            unpack(root, {"files-0": system}, tmp_path / "two")


def test_mount_points_are_there_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    with _mount_points(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {"proc", "dev"}
    assert [path.name for path in tmp_path.iterdir()] == ["proc"]
    (tmp_path / "dev").symlink_to("/dev")
    with pytest.raises(BuildError, match="/dev of the tree is no folder"), _mount_points(tmp_path):
        pass


def test_name_servers_are_lent(tmp_path: Path) -> None:
    with _name_servers(tmp_path, wanted=True):
        assert not list(tmp_path.iterdir()), "without /etc there is no place for them"
    (tmp_path / "etc").mkdir()
    own = tmp_path / "etc" / "resolv.conf"
    for text in (None, "its own"):
        if text:
            own.write_text(text)
        with _name_servers(tmp_path, wanted=True):
            assert own.read_bytes() == Path("/etc/resolv.conf").read_bytes()
        assert (own.read_text() if own.exists() else None) == text
    with _name_servers(tmp_path, wanted=False):
        assert own.read_text() == "its own"


def test_how_a_command_is_shown() -> None:
    assert _shown({"shown": "true"}) == "true"
    assert _shown({"shown": "true\nfalse"}) == "true…"
    assert _shown({"shown": "x" * 200}).endswith("x…")
    assert _option() in {"nodev", ""}

    assert Member("a", "file").mode == 0o644
