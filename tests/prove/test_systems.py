"""A whole system, from Debian's packages to its login prompt: the small one of the recipes."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from imagekit.prove import Expected, Laboratory, subject
from imagekit.verify import verify
from tests.conftest import ROOT, Make
from tests.prove.prepared import prepared

pytestmark = pytest.mark.xdist_group("lab")


def tree(name: str, out: Path, **environment: str) -> Path:
    """Make one of the recipes' trees."""
    argv = [sys.executable, str(ROOT / "tools" / "trees"), name, str(out)]
    done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_a_small_one_to_its_login(make: Make, tmp_path: Path) -> None:
    laboratory = Laboratory(prepared(), tmp_path / "state")
    recipe = tmp_path / "recipes" / "small-tree-tar.toml"
    recipe.parent.mkdir()
    shutil.copy(ROOT / "recipes" / recipe.name, recipe)
    small = tree("small", tmp_path / "build" / "trees" / "small.tar")
    with tarfile.open(small) as tar:
        assert {(member.uid, member.gid, member.mtime) for member in tar} == {(0, 0, 946684800)}
    (artifact,) = make(recipe, target="xen")
    assert not [check for check in verify(artifact.path) if check.verdict == "skipped"]
    found = subject(artifact.path, target=None, way=None, memory=None)
    seen = laboratory.prove(found, Expected("small login:"), timeout=120)
    assert seen.booted, seen.why
    assert "A small system: busybox, and the kernel 6.1" in seen.console
