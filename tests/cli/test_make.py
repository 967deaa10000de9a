"""The Makefile of the README, run by a real make: it rebuilds when something changed, and only then."""

import os
import re
import textwrap
import time
from pathlib import Path

import pytest

from imagekit.command import run
from tests.cli.conftest import SCRIPT
from tests.conftest import ROOT

MAKEFILE = """\
all: app.ebs site.xen.raw

%.ebs: %.xen
\timagekit build -q --target ebs --depfile $@.d -o $@ $<

%.xen.raw: %.toml
\timagekit build -q --depfile $@.d -o $@ $<

-include *.d
"""


class Farm:
    """A folder with that Makefile, a kernel, and a recipe with a folder."""

    def __init__(self, folder: Path, kernels: Path) -> None:
        self.folder = folder
        (folder / "Makefile").write_text(MAKEFILE)
        (folder / "app.xen").write_bytes((kernels / "hello.xen").read_bytes())
        (folder / "site.toml").write_text('kernel = "app.xen"\nroot.files = [{ from = "www", to = "/srv" }]\n')
        (folder / "www" / "css").mkdir(parents=True)
        (folder / "www" / "index.html").write_text("one")
        (folder / "www" / "css" / "a b$c#.css").write_text("two")
        self.settle()

    def settle(self) -> None:
        """Let what is there be older than what is made next: file systems tell times in steps."""
        past = time.time() - 100
        for path in (self.folder, *self.folder.rglob("*")):
            if not path.is_relative_to(self.folder / "cache"):
                os.utime(path, (path.stat().st_mtime - 100, min(past, path.stat().st_mtime - 100)))

    def make(self) -> set[str]:
        """Run make; return the artifacts that it made a command for."""
        env = {"PATH": f"{SCRIPT.parent}:{os.environ['PATH']}", "IMAGEKIT_CACHE_DIR": str(self.folder / "cache")}
        env |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
        said = run("make", "--no-print-directory", "-C", self.folder, env=env).stdout.decode()
        return {line.split(" -o ")[1].split()[0] for line in said.splitlines() if " -o " in line}


@pytest.fixture
def farm(tmp_path: Path, kernels: Path) -> Farm:
    return Farm(tmp_path, kernels)


def test_make_rebuilds_exactly_what_an_input_changed_for(farm: Farm) -> None:
    www = farm.folder / "www"
    assert farm.make() == {"app.ebs", "site.xen.raw"}
    assert farm.make() == set()
    for change, expected in (
        (lambda: (www / "index.html").write_text("three"), {"site.xen.raw"}),
        (lambda: (www / "css" / "a b$c#.css").write_text("four"), {"site.xen.raw"}),
        ((www / "css" / "new").touch, {"site.xen.raw"}),
        ((www / "css" / "new").unlink, {"site.xen.raw"}),
        (lambda: (farm.folder / "site.toml").write_text('kernel = "app.xen"\n'), {"site.xen.raw"}),
        (lambda: os.utime(farm.folder / "app.xen"), {"app.ebs", "site.xen.raw"}),
        ((farm.folder / "app.ebs").unlink, {"app.ebs"}),
    ):
        farm.settle()
        change()
        assert farm.make() == expected
        assert farm.make() == set()


def test_a_cached_build_does_not_make_make_rebuild_for_ever(farm: Farm) -> None:
    farm.make()
    before = (farm.folder / "app.ebs").stat()
    time.sleep(0.05)
    os.utime(farm.folder / "app.xen")
    assert farm.make() == {"app.ebs", "site.xen.raw"}
    after = (farm.folder / "app.ebs").stat()
    # Touched, not written again.
    assert after.st_ino == before.st_ino
    assert after.st_mtime > (farm.folder / "app.xen").stat().st_mtime
    assert farm.make() == set()


def test_a_build_that_fails_leaves_nothing_that_make_takes_for_made(farm: Farm) -> None:
    (farm.folder / "site.toml").write_text('kernel = "app.xen"\ndisk.size = "1MiB"\n')
    env = {"PATH": f"{SCRIPT.parent}:{os.environ['PATH']}", "IMAGEKIT_CACHE_DIR": str(farm.folder / "cache")}
    assert run("make", "-C", farm.folder, env=env, ok=(2,)).status == 2
    assert not (farm.folder / "site.xen.raw").exists()


def test_the_examples_of_the_pages(farm: Farm) -> None:
    """As they stand there: a bare `make` makes app.ebs."""
    for page in ("README.md", "docs/how-to/makefile.md"):
        text = (ROOT / page).read_text()
        block = re.search(r"(?:^(?:    .*)?\n)*^    %\.ebs: .*\n(?:^(?:    .*)?\n)*", text, re.MULTILINE)
        assert block is not None
        (farm.folder / "Makefile").write_text(textwrap.dedent(block[0]))
        (farm.folder / "app.ebs").unlink(missing_ok=True)
        assert farm.make() == {"app.ebs"}
        assert (farm.folder / "app.ebs").exists()
