"""Targets by name: ours, and those that other packages bring by an entry point. All through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imagekit import targets

IMAGEKIT = Path(sys.executable).with_name("imagekit")

PLUG_IN = """
from imagekit.stages import disk_step, output, root_step
SUMMARY = "a cloud of somebody else's"
EXTENSION = ".nimbus"
def refusal(facts, image):
    return None
def plan(job):
    return output(job, "nimbus", disk_step(job, root_step(job, "pv")), {}, {"guest": "pv"})
"""


def imagekit(*arguments: str | Path, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    return subprocess.run([IMAGEKIT, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60)


BY_BIOS = """
from imagekit.kernel import Way, why_not
from imagekit.stages import core_step, disk_step, output, root_step, settled
SUMMARY = "a cloud that boots disks by a BIOS"
EXTENSION = ".cumulus"
def refusal(facts, image):
    return why_not(facts, Way.HVM)
def plan(job):
    job = settled(job, "hvm")
    disk = disk_step(job, root_step(job, "hvm"), core=core_step(job, "hvm"))
    return output(job, "cumulus", disk, {}, {"guest": "hvm", "way": "hvm"})
"""


@pytest.fixture
def plug_in(tmp_path: Path) -> Path:
    """Return a folder for sys.path with an installed package that brings two targets, one of them broken."""
    folder = tmp_path / "site"
    info = folder / "nimbus-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nimbus\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[imagekit.targets]\nnimbus = nimbus_target\nxen = nimbus_target\n")
    with (info / "entry_points.txt").open("a") as file:
        file.write("cumulus = cumulus_target\n")
    (folder / "nimbus_target.py").write_text(PLUG_IN)
    (folder / "cumulus_target.py").write_text(BY_BIOS)
    return folder


def test_ours() -> None:
    assert {"ebs", "xen"} <= set(targets.names())
    for name in targets.names():
        target = targets.load(name)
        assert target.SUMMARY
        assert target.EXTENSION.startswith(".")


def test_a_plug_in_is_found(plug_in: Path) -> None:
    assert "nimbus" not in json.loads(imagekit("targets", "--json").stdout)
    found = json.loads(imagekit("targets", "--json", path=plug_in).stdout)
    assert found["nimbus"] == {"summary": "a cloud of somebody else's", "extension": ".nimbus"}
    assert found["xen"]["extension"] == ".raw", "nobody takes our names"


def test_a_plug_in_builds(plug_in: Path, kernels: Path, tmp_path: Path) -> None:
    done = imagekit("build", kernels / "hello.xen", "-t", "nimbus", "-o", f"{tmp_path}/out/", path=plug_in)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out/hello.nimbus\n"), done.stderr
    assert json.loads((tmp_path / "out" / "hello.nimbus.imagekit.json").read_bytes())["target"] == "nimbus"


def test_a_plug_in_s_disk_for_a_bios(plug_in: Path, kernels: Path, tmp_path: Path) -> None:
    out = tmp_path / "app.cumulus"
    done = imagekit("build", kernels / "hello-pvh.xen", "-t", "cumulus", "-o", out, path=plug_in)
    assert done.returncode == 0, done.stderr
    checked = imagekit("verify", out, path=plug_in)
    assert (checked.returncode, "boot sector: GRUB's" in checked.stderr) == (0, True), checked.stderr
    refused = imagekit("build", kernels / "hello.xen", "-t", "cumulus", path=plug_in)
    assert (refused.returncode, "GRUB finds no Multiboot header" in refused.stderr) == (3, True)


def test_all_is_with_plug_ins(plug_in: Path, kernels: Path, tmp_path: Path) -> None:
    arguments = ("build", kernels / "broken" / "pvh-only.xen", "-t", "all", "-o", f"{tmp_path}/out/")
    done = imagekit(*arguments, path=plug_in)
    assert done.returncode == 0, done.stderr
    assert sorted(Path(line).name for line in done.stdout.split()) == [
        "pvh-only.nimbus",
        "pvh-only.qubes.tar",
        "pvh-only.xcp.vhd",
        "pvh-only.xen.raw",
    ]
    assert "pvh-only: not for ebs: as PV: it has no entry for PV" in done.stderr
    as_json = json.loads(imagekit(*arguments, "--json").stdout)
    assert [skip["target"] for skip in as_json["skipped"] if skip["target"] == "ebs"] == ["ebs"]
    assert all(skip["reason"] for skip in as_json["skipped"])


def test_all_and_nothing_is_left(kernels: Path, tmp_path: Path) -> None:
    done = imagekit("build", kernels / "broken" / "no-notes.xen", "-t", "all", "-o", f"{tmp_path}/out/")
    assert (done.returncode, done.stdout) == (3, "")
    assert "cannot boot on" in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_one(kernels: Path) -> None:
    done = imagekit("build", kernels / "hello.xen", "-t", "ebz")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no target is named 'ebz'" in done.stderr
    assert "ebs" in done.stderr


def test_a_pvh_kernel_on_ebs(kernels: Path) -> None:
    done = imagekit("build", kernels / "broken" / "pvh-only.xen", "-t", "ebs")
    assert (done.returncode, done.stdout) == (3, "")
    assert "missing: ENTRY or VIRT_BASE (notes 1 and 3)" in done.stderr
    assert "hint: --target qubes, xcp or xen" in done.stderr
