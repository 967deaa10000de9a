from pathlib import Path

import pytest

from imagekit.errors import ToolError
from imagekit.prove.lab import PLAIN
from imagekit.prove.lab.apt import Apt
from imagekit.prove.lab.debs import key_of
from imagekit.prove.lab.folder import DebFolder
from tests.prove.lab.conftest import MakeDeb

PACKAGES = PLAIN.packages
KERNEL = "linux-image-6.1.0-56-amd64"


def _make_all(make_deb: MakeDeb, *, without: str = "") -> None:
    for name in PACKAGES:
        if name != without:
            make_deb(KERNEL if name == "linux-image-amd64" else name, architecture="all")


def _etc(folder: Path, source: str = "") -> Path:
    """Return an /etc/apt of our own with one source, or none."""
    for part in ("apt.conf.d", "preferences.d", "sources.list.d", "trusted.gpg.d"):
        (folder / part).mkdir(parents=True)
    (folder / "sources.list").write_text(source)
    return folder


def test_apt_without_sources_names_every_package(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        Apt(tmp_path / "apt", PACKAGES, _etc(tmp_path / "etc")).wanted()
    assert all(name in caught.value.brief for name in PACKAGES)
    assert "--prepare --from DIR" in caught.value.hint


def test_apt_tells_why_a_source_gave_nothing(tmp_path: Path) -> None:
    etc = _etc(tmp_path / "etc", f"deb [trusted=yes] file:{tmp_path}/nowhere bookworm main\n")
    with pytest.raises(ToolError) as caught:
        Apt(tmp_path / "apt", PACKAGES, etc).wanted()
    assert "nowhere" in caught.value.details


def test_apt_names_what_one_source_lacks(tmp_path: Path) -> None:
    stanzas = [
        f"Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody\nDescription: x\n"
        f"Filename: {name}.deb\nSize: 1\nSHA256: {'0' * 64}\n"
        + (f"Depends: {KERNEL}\n" if name == "linux-image-amd64" else "")
        for name in (*PACKAGES, KERNEL)
        if name not in {"libyajl2", "busybox-static"}
    ]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "Packages").write_text("\n".join(stanzas))
    etc = _etc(tmp_path / "etc", f"deb [trusted=yes] file:{tmp_path}/source ./\n")
    with pytest.raises(ToolError) as caught:
        Apt(tmp_path / "apt", PACKAGES, etc).wanted()
    assert caught.value.brief == "apt's sources: no package busybox-static, libyajl2"


def test_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagekit.programs.find", lambda _: None)
    with pytest.raises(ToolError, match="apt-get is not installed"):
        Apt(tmp_path / "apt", PACKAGES).wanted()


def test_a_folder_gives_the_newest_of_each(make_deb: MakeDeb, debs: Path) -> None:
    _make_all(make_deb)
    make_deb("libyajl2", "1:0.9", file="b.deb")
    make_deb("libyajl2", "1.10~rc1", file="z.deb")
    make_deb("libyajl2", "2:9", architecture="arm64")
    make_deb("linux-image-6.1.0-99-rt-amd64", "9")
    wanted = {deb.name: deb for deb in DebFolder(debs, PACKAGES).wanted()}
    assert set(wanted) == set(PACKAGES)
    assert (wanted["libyajl2"].version, wanted["libyajl2"].file) == ("1:0.9", "b.deb")
    assert wanted["linux-image-amd64"].file.startswith(KERNEL)
    assert key_of(wanted.values()) == key_of(reversed(wanted.values()))


def test_a_folder_that_lacks_one(make_deb: MakeDeb, debs: Path) -> None:
    _make_all(make_deb, without="libyajl2")
    with pytest.raises(ToolError, match="debs: no package libyajl2"):
        DebFolder(debs, PACKAGES).wanted()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="no folder"):
        DebFolder(tmp_path / "nowhere", PACKAGES).wanted()


def test_a_deb_that_is_none(debs: Path) -> None:
    (debs / "libyajl2_1_amd64.deb").write_bytes(b"no archive")
    with pytest.raises(ToolError, match="dpkg-deb failed"):
        DebFolder(debs, PACKAGES).wanted()
