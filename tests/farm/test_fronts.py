"""The program itself, twice at once, on one farm: what it builds there, and what it publishes from here."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.farm.conftest import IMAGEKIT, Farm
from tests.publish.conftest import REGION, Open, held, rehearse

__all__ = ["rehearse"]
pytestmark = pytest.mark.xdist_group("farm")


def front(farm: Farm, folder: Path, recipe: Path, *options: str, state: str = "state") -> "subprocess.Popen[str]":
    """Start a build on the farm, with a cache of its own."""
    folder.mkdir(exist_ok=True)
    given = ("--store", farm.access.url, "--store-key", farm.access.writer or "", "--scheduler", farm.scheduler)
    environment = {
        **os.environ,
        "IMAGEKIT_CACHE_DIR": str(folder / "cache"),
        "IMAGEKIT_STATE_DIR": str(folder.parent / state),
    }
    argv = [str(IMAGEKIT), "build", str(recipe), "-t", "ebs", "-o", str(folder / "app.ebs"), *given, *options]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture
def recipe(kernels: Path, tmp_path: Path) -> Path:
    path = tmp_path / "app.toml"
    path.write_text(f'kernel = "{kernels / "hello.xen"}"\n[publish.ebs]\nregions = ["{REGION}"]\n')
    return path


@pytest.mark.parametrize("state", ["one ledger", "two ledgers"])
def test_two_fronts_publish_one_image(
    farm: Farm, recipe: Path, tmp_path: Path, rehearse: Open, state: str
) -> None:
    account = rehearse()
    states = ("state", "state" if state == "one ledger" else "another")
    pair = [front(farm, tmp_path / f"front-{n}", recipe, "--publish", state=states[n]) for n in range(2)]
    ended = [said(process) for process in pair]
    assert 0 in {code for code, _, _ in ended}, ended
    assert all(code in {0, 5, 75} for code, _, _ in ended), ended
    again = said(front(farm, tmp_path / "front-1", recipe, "--publish", state=states[1]))
    assert again[0] == 0, again
    assert account.images(REGION)[0].id in again[1]
    assert held(account) == (1, 1), ended
