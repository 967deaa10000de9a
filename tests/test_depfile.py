"""Dependency files, read by make and by ninja themselves."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from imagekit.build import Runner
from imagekit.depfile import write_depfile
from imagekit.errors import BuildError
from imagekit.prepare import Request, prepare
from imagekit.store import Store

NAMES = ["plain", "two words", "a#b", "a$b", "a:b", "back\\slash", "back\\ space", "per%cent", "a=b", "ünï"]


def depfile(store: Store, path: Path, out: str, recipe: Path) -> None:
    with store.in_use():
        prepared = prepare(Request((recipe,), out=out), Runner(store), {})
    write_depfile(path, prepared)


@pytest.fixture
def recipe(kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a recipe with a kernel and a folder of files with awkward names; go to its folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(kernels / "hello.xen", tmp_path)
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for name in NAMES:
        (tmp_path / "tree" / "sub" / name).write_text(name)
    (tmp_path / "tree" / "link").symlink_to("nowhere")
    path = tmp_path / "app.toml"
    path.write_text('kernel = "hello.xen"\n[[root.files]]\nfrom = "tree"\n')
    return path


def test_what_it_names(store: Store, recipe: Path, tmp_path: Path) -> None:
    depfile(store, tmp_path / "app.d", "my app.raw", Path(recipe.name))
    text = (tmp_path / "app.d").read_text()
    rule, *phony = text.replace(" \\\n", "").splitlines()
    assert rule.startswith("my\\ app.raw: app.toml hello.xen tree tree/sub tree/sub/")
    assert {"app.toml:", "hello.xen:", "tree:", "tree/sub/plain:"} <= set(phony)
    assert "link" not in text
    assert [entry.name for entry in tmp_path.iterdir() if "app.d" in entry.name] == ["app.d"]


def test_what_lies_elsewhere_keeps_its_whole_path(store: Store, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path / "elsewhere")
    depfile(store, Path("app.d"), "app.raw", recipe)
    assert f"{tmp_path}/hello.xen" in Path("app.d").read_text()


def remade(program: str) -> bool:
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    return "REMADE" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_make_reads_it(store: Store, recipe: Path, tmp_path: Path, name: str) -> None:
    depfile(store, tmp_path / "app.d", "app.raw", recipe)
    (tmp_path / "Makefile").write_text("app.raw:\n\t@echo REMADE; touch app.raw\n-include app.d\n")
    source = tmp_path / "tree" / "sub" / name
    assert remade("make")
    assert not remade("make")
    os.utime(source, (4e9, 4e9))
    assert remade("make")
    os.utime(source, (1e9, 1e9))
    assert not remade("make")
    if name not in {"per%cent", "a=b"}:  # a pattern and an assignment, to make
        source.unlink()
        os.utime(tmp_path / "tree" / "sub", (1e9, 1e9))
        assert remade("make"), "a file that is gone does not stop make"


@pytest.mark.skipif(shutil.which("ninja") is None, reason="no ninja here")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "back\\ space"])
def test_ninja_reads_it(store: Store, recipe: Path, tmp_path: Path, name: str) -> None:
    depfile(store, tmp_path / "app.d.in", "app.raw", recipe)
    (tmp_path / "build.ninja").write_text(
        "rule image\n command = echo REMADE; touch app.raw; cp app.d.in app.d\n depfile = app.d\n"
        "build app.raw: image\n"
    )
    source = tmp_path / "tree" / "sub" / name
    assert remade("ninja")
    assert not remade("ninja")
    os.utime(source, (4e9, 4e9))
    assert remade("ninja")
    os.utime(source, (1e9, 1e9))
    assert not remade("ninja")


def test_a_place_that_cannot_be(store: Store, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (recipe / "app.d", tmp_path / "folder"):
        with pytest.raises(BuildError, match="cannot be written"):
            depfile(store, path, "app.raw", recipe)
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_names_that_are_no_text(store: Store, recipe: Path, tmp_path: Path) -> None:
    depfile(store, tmp_path / "app.d", os.fsdecode(b"caf\xe9.raw"), recipe)
    assert (tmp_path / "app.d").read_bytes().startswith(b"caf\xe9.raw:")


def test_nobody_sees_half_of_it(store: Store, recipe: Path, tmp_path: Path) -> None:
    """It is renamed into its place: whoever has the old one open keeps it."""
    path = tmp_path / "app.d"
    path.write_text("old")
    with path.open() as reader:
        depfile(store, path, "app.raw", recipe)
        assert reader.read() == "old"
    assert path.read_text().startswith("app.raw:")
