"""`imagekit make-rules`, and its fragment under a real GNU make."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.command import run
from tests.cli.conftest import SCRIPT, Cli

MULTI = """\
kernel = "app.xen"
[[image]]
name = "one"
[[image]]
name = "two"
targets = ["xen", "ebs"]
cmdline = "two"
"""
Make = Callable[..., str]


@pytest.fixture
def farm(tmp_path: Path, kernels: Path) -> Path:
    """Return a folder of recipes: one of two targets and a folder, one of several images, one with a space."""
    (tmp_path / "app.xen").write_bytes((kernels / "hello.xen").read_bytes())
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("one")
    files = 'root.files = [{ from = "www", to = "/srv" }]\n'
    (tmp_path / "site.toml").write_text(f'kernel = "app.xen"\ntargets = ["xen", "ebs"]\n{files}')
    (tmp_path / "multi.toml").write_text(MULTI)
    (tmp_path / "my app.toml").write_text('kernel = "app.xen"\n')
    (tmp_path / "Makefile").write_text("include images.mk\n")
    settle(tmp_path)
    return tmp_path


def settle(folder: Path) -> None:
    """Let what is there be older than what is made next: file systems tell times in steps."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_relative_to(folder / "cache"):
            os.utime(path, (path.stat().st_mtime - 100,) * 2)


@pytest.fixture
def gmake(farm: Path) -> Make:
    """Return a function that runs make and returns what it said."""

    def make_it(*arguments: str, ok: tuple[int, ...] = (0,)) -> str:
        places = {f"IMAGEKIT_{name}_DIR": str(farm / name.lower()) for name in ("CACHE", "STATE")}
        env = {"PATH": f"{SCRIPT.parent}:{os.environ['PATH']}", **places}
        done = run("make", "--no-print-directory", "-C", farm, *arguments, env=env, ok=ok)
        return (done.stdout + done.stderr).decode()

    return make_it


def built(said: str) -> list[str]:
    """Return the recipes that make ran imagekit for, sorted."""
    return sorted(re.findall(r"^imagekit build .*?--depfile .*?\.d'? (.*)$", said, re.MULTILINE))


def test_all_is_built_once_and_again_only_when_something_changed(cli: Cli, farm: Path, gmake: Make) -> None:
    done = cli("make-rules", "site.toml", "multi.toml", "my app.toml", "--into", "out", "-o", "images.mk")
    assert (done.code, done.out) == (0, "")
    everything = ["'my app.toml'", "multi.toml", "site.toml", "site.toml"]
    assert built(gmake("all", "-j4")) == everything
    made = {
        path.name for path in (farm / "out").iterdir() if not path.name.endswith((".d", ".json", ".cfg", ".xml"))
    }
    assert made == {"site.xen.raw", "site.ebs", "one.xen.raw", "two.xen.raw", "two.ebs", "my-app.xen.raw"}
    assert gmake("all") == "make: Nothing to be done for 'all'.\n"
    for change, expected in (
        (lambda: (farm / "www" / "index.html").write_text("two"), ["site.toml", "site.toml"]),
        (lambda: (farm / "multi.toml").write_text(MULTI.replace("two", "second")), ["multi.toml"]),
        ((farm / "out" / "site.ebs").unlink, ["site.toml"]),
        (lambda: os.utime(farm / "app.xen"), everything),
    ):
        settle(farm)
        change()
        if expected == ["multi.toml"]:  # its images have other names now: the rules are written again
            cli("make-rules", "site.toml", "multi.toml", "my app.toml", "--into", "out", "-o", "images.mk")
        assert built(gmake("all", "-j4")) == expected
        assert built(gmake("all")) == []


def test_a_fragment_that_make_writes_itself(farm: Path, gmake: Make) -> None:
    """Make makes what it includes, the kernel first, and starts over with it."""
    (farm / "app.xen").rename(farm / "source.xen")
    (farm / "Makefile").write_text(
        "include images.mk\n"
        "images.mk: site.toml app.xen\n\timagekit make-rules site.toml -o $@\n"
        "app.xen: source.xen\n\tcp $< $@\n"
    )
    said = gmake("all")
    assert said.index("cp source.xen") < said.index("imagekit make-rules") < said.index("imagekit build")
    assert built(said) == ["site.toml", "site.toml"]
    time.sleep(0.02)
    assert built(gmake("all")) == []


def test_clean_leaves_what_was_there_before(cli: Cli, farm: Path, gmake: Make) -> None:
    before = {path.name for path in farm.iterdir()} | {"images.mk", "cache", "state"}
    cli("make-rules", "site.toml", "multi.toml", "my app.toml", "-o", "images.mk")
    gmake("all")
    assert {path.name for path in farm.iterdir()} > before
    gmake("clean")
    assert {path.name for path in farm.iterdir()} == before


def test_publishing_and_proving_are_the_recipes_own(cli: Cli, farm: Path, gmake: Make) -> None:
    (farm / "site.toml").write_text(
        'kernel = "app.xen"\ntargets = ["xen", "ebs"]\n[publish.ebs]\nregions = ["eu-west-1"]\n'
    )
    cli("make-rules", "site.toml", "-o", "images.mk")
    said = gmake("-n", "publish-all", "prove-site.xen.raw")
    assert "imagekit build -q --target ebs -o site.ebs --publish site.toml" in said
    assert "imagekit build -q --target xen -o site.xen.raw --prove site.toml" in said
    assert "--target xen -o site.xen.raw --publish" not in said, "no host is named"
    text = (farm / "images.mk").read_text()
    for goal in ("prove-site.ebs", "prove-all", "publish-site.ebs", "clean", "all"):
        assert re.search(rf"^\.PHONY: .*\b{goal}\b", text, re.MULTILINE)


def test_a_failure_stops_make_and_leaves_no_artifact(cli: Cli, farm: Path, gmake: Make) -> None:
    cli("make-rules", "site.toml", "-o", "images.mk")
    (farm / "site.toml").write_text('kernel = "app.xen"\ntargets = ["xen", "ebs"]\ndisk.size = "1MiB"\n')
    assert "Error 1" in gmake("all", ok=(2,))
    assert not (farm / "site.ebs").exists()


def test_what_cannot_be_built_for_is_told(cli: Cli, farm: Path, kernels: Path) -> None:
    (farm / "pvh.xen").write_bytes((kernels / "broken" / "pvh-only.xen").read_bytes())
    done = cli("make-rules", "pvh.xen", "--target", "all")
    assert "pvh: not for ebs" in done.err
    assert "pvh.xen.raw : pvh.xen" in done.out
    assert "ebs" not in done.out
    assert cli("make-rules", "pvh.xen", "--target", "ebs").code == 3


@pytest.mark.parametrize("name", ["a%b", "a*b", "a;b", "a=b", "a$b", "a#b", "a:b", "a|b", "a'b", "a\\b", "a~(b)"])
def test_names_that_make_has_a_meaning_for_are_refused(cli: Cli, farm: Path, name: str) -> None:
    (farm / f"{name}.xen").write_bytes((farm / "app.xen").read_bytes())
    done = cli("make-rules", f"{name}.xen", "-o", "images.mk")
    assert done.code == 2
    assert not (farm / "images.mk").exists()


def test_two_of_one_name_are_refused(cli: Cli, farm: Path) -> None:
    (farm / "sub").mkdir()
    (farm / "sub" / "site.toml").write_text('kernel = "../app.xen"\n')
    done = cli("make-rules", "site.toml", "sub/site.toml")
    assert done.code == 2
    assert "two artifacts are named site.xen.raw" in done.err
