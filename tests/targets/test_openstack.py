"""OpenStack on Xen, and Rackspace: what is made for them, and what they cannot have."""

import json
from pathlib import Path

import pytest

from imagekit.command import run
from tests.cli.conftest import Cli, cli, hello

__all__ = ["cli", "hello"]


@pytest.mark.parametrize(
    "target,kind,ending,form",
    [
        ("openstack", "vhd", ".vhd", "vhd"),
        ("openstack", "ovf", ".tgz", "ovf"),
        ("openstack", "raw", ".raw", None),
        ("rackspace", "vhd", ".vhd", "vhd"),
    ],
)
@pytest.mark.parametrize("layout", ["plain", "mbr", "gpt"])
def test_what_is_made_verifies(
    cli: Cli, hello: Path, target: str, kind: str, ending: str, form: str | None, layout: str
) -> None:
    sets = ("--set", f"openstack.format={kind}", "--set", f"disk.layout={layout}")
    said = cli("build", hello, "-t", target, "-o", "out/", "--json", "-q", *sets)
    assert said.code == 0, said.err
    (made,) = json.loads(said.out)["artifacts"]
    assert made["path"] == f"out/app.{target}{ending}"
    told = cli("verify", made["path"], "--json")
    assert told.code == 0, told.err
    verdicts = {check["check"]: check["verdict"] for check in json.loads(told.out)["checks"]}
    assert set(verdicts.values()) == {"ok"}
    assert verdicts.keys() >= {"pygrub", "kernel", "VDI"}
    assert (str(form).upper() in verdicts) is (form is not None)
    assert ("tar" in verdicts) is (form == "ovf")


def test_all_forms_hold_one_disk(cli: Cli, hello: Path) -> None:
    digests = set()
    for kind in ("vhd", "ovf", "raw"):
        said = cli("build", hello, "-t", "openstack", "--set", f"openstack.format={kind}", "-o", "out/", "--json")
        digests.add(Path(json.loads(said.out)["artifacts"][0]["path"]).name)
    assert digests == {"app.openstack.vhd", "app.openstack.tgz", "app.openstack.raw"}
    for name in ("app.openstack.vhd", "app.openstack.tgz"):
        assert cli("convert", f"out/{name}", f"{name}.raw").code == 0
        assert Path(f"{name}.raw").read_bytes() == Path("out/app.openstack.raw").read_bytes()


def test_a_tgz_is_told_and_inspected(cli: Cli, hello: Path) -> None:
    assert cli("build", hello, "-t", "openstack", "--set", "openstack.format=ovf", "-o", "app.tgz", "-q").code == 0
    said = cli("inspect", "app.tgz")
    assert said.code == 0, said.err
    assert "gzipped tar of a VHD, as OpenStack's ovf" in said.out
    assert "Boot loaders" in said.out


def test_a_changed_tgz_is_found(cli: Cli, hello: Path) -> None:
    assert cli("build", hello, "-t", "openstack", "--set", "openstack.format=ovf", "-o", "app.tgz", "-q").code == 0
    run("tar", "-xzf", "app.tgz", timeout=60)
    run("tar", "-czf", "app.tgz", "./0.vhd", timeout=60)
    said = cli("verify", "app.tgz")
    assert said.code == 6
    assert "than it was made" in said.err


@pytest.mark.parametrize("target", ["openstack", "rackspace"])
def test_no_pvh(cli: Cli, hello: Path, kernels: Path, target: str) -> None:
    said = cli("build", kernels / "hello-pvh.xen", "-t", target, "-o", "app.vhd")
    assert said.code == 3
    assert not Path("app.vhd").exists()
    said = cli("build", hello, "-t", target, "--boot", "pvh", "-o", "app.vhd")
    assert said.code == 3
    assert "PVH" in said.err


@pytest.mark.parametrize(
    "target,size,words",
    [
        ("openstack", "3MiB", "4MiB"),
        ("openstack", "2042GiB", "2040 GiB at most"),
        ("rackspace", "152GiB", "160 GB at most"),
    ],
)
def test_sizes_that_cannot_be(cli: Cli, hello: Path, target: str, size: str, words: str) -> None:
    said = cli("build", hello, "-t", target, "--set", f"disk.size={size}", "-o", "app.vhd")
    assert said.code == 2
    assert words in said.err
