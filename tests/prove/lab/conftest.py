from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.command import run

MakeDeb = Callable[..., Path]


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    folder = tmp_path / "debs"
    folder.mkdir()
    return folder


@pytest.fixture
def make_deb(tmp_path: Path, debs: Path) -> MakeDeb:
    """Return a function that makes a .deb without content, as real to dpkg-deb as a large one."""

    def make(name: str, version: str = "1.0", architecture: str = "amd64", file: str = "") -> Path:
        tree = tmp_path / "tree"
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n"
            "Maintainer: nobody <nobody@example.org>\nDescription: nothing\n"
        )
        out = debs / (file or f"{name}_{version.replace(':', '%3a')}_{architecture}.deb")
        run("dpkg-deb", "-Znone", "--root-owner-group", "--build", tree, out)
        return out

    return make
