"""What is written beside an artifact whose steps ran elsewhere."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, cli
from tests.farm.conftest import Farm

__all__ = ["cli"]

pytestmark = pytest.mark.xdist_group("farm")


def test_the_paper_trail_of_what_workers_made(farm: Farm, cli: Cli, kernels: Path, tmp_path: Path) -> None:
    access = farm.access
    shared = ("--store", access.url, "--store-key", access.writer or "", "--trust", access.trusted[0])
    elsewhere = ("--scheduler", farm.scheduler, *shared)
    kernel = kernels / "hello.xen"
    said = cli("build", kernel, "-q", "--provenance", "-o", tmp_path / "a.raw", *elsewhere)
    assert said.code == 0, said.err
    assert cli("build", kernel, "-q", "--provenance", "-o", tmp_path / "b" / "a.raw").code == 0
    for ending in (".SHA256SUMS", ".intoto.json", ".cdx.json"):
        assert (tmp_path / f"a.raw{ending}").read_bytes() == (tmp_path / "b" / f"a.raw{ending}").read_bytes()
    assert json.loads((tmp_path / "a.raw.cdx.json").read_bytes())["components"]
