"""The sample kernels, built once a run from recipes/kernels."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "recipes" / "kernels"


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with hello.xen and the others."""
    if not (shutil.which("make") and shutil.which("gcc") and (SOURCES / "Makefile").is_file()):
        pytest.skip("the sample kernels need make, gcc and recipes/kernels")
    folder = tmp_path_factory.mktemp("kernels")
    # make must not write to its parent's job server, should the tests run under make
    subprocess.run(["make", "-s", "-C", SOURCES, f"OUT={folder}", "MAKEFLAGS="], check=True)  # noqa: S607
    return folder
