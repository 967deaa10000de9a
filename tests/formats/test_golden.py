"""The main variants, byte for byte, and each one as Xen and libvirt read it.

A golden file is one domain in one format. After a change that is meant, run IMAGEKIT_GOLDEN=write pytest
tests/formats, and read the diff.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagekit import command
from imagekit.formats.domain import Disk, Domain, Vif
from imagekit.formats.libvirt import domain_xml
from imagekit.formats.xl import xl_cfg, xm_cfg
from imagekit.verify.xlu import parse_xl_cfg

GOLDEN = Path(__file__).parent / "golden"

DISK = (Disk(path="/var/lib/xen/images/app.img"),)
VIF = (Vif(bridge="xenbr0", mac="00:16:3e:5a:00:01"),)
DOMAINS: Mapping[str, Domain] = {
    "pv-pygrub": Domain(name="app", kind="pv", memory=256, disks=DISK, vifs=VIF),
    "pv-direct": Domain(
        name="app", kind="pv", memory=1024, kernel="/srv/app.xen", vifs=(Vif(bridge="eth0"),), cmdline="--port=80"
    ),
    "pvh-direct": Domain(
        name="app",
        kind="pvh",
        memory=32,
        vcpus=2,
        kernel="/srv/app.xen",
        ramdisk="/srv/app.cpio",
        cmdline="""motto="it's \\ here" -l '*:info'""",
        on_crash="coredump-destroy",
        uuid="8c7e4b4e-0f2f-4f57-9d0e-5f6a3f6e2b11",
    ),
    "pvh-pygrub": Domain(
        name="app",
        kind="pvh",
        memory=64,
        disks=(
            *DISK,
            Disk(path="/dev/vg/data", vdev="xvdb", access="ro"),
            Disk(path="/a,b,", vdev="xvdc", format="vhd"),
        ),
        vifs=(*VIF, Vif(ip="192.0.2.7", script="vif-route")),
    ),
    "hvm": Domain(
        name="app", kind="hvm", memory=64, disks=(*DISK, Disk(path="/dev/vg/data", vdev="xvdb")), vifs=VIF
    ),
}
WRITERS: Mapping[str, Callable[[Domain], str]] = {"cfg": xl_cfg, "xm.cfg": xm_cfg, "xml": domain_xml}
FILES = [
    f"{name}.{form}" for name in DOMAINS for form in WRITERS if not (name.startswith("pvh") and form == "xm.cfg")
]


def written(file: str) -> str:
    name, form = file.split(".", 1)
    return WRITERS[form](DOMAINS[name])


@pytest.mark.parametrize("file", FILES)
def test_bytes(file: str) -> None:
    golden = GOLDEN / file
    if os.environ.get("IMAGEKIT_GOLDEN") == "write":
        golden.write_bytes(written(file).encode())
    assert written(file).encode() == golden.read_bytes()


def test_no_golden_file_is_left_over() -> None:
    assert sorted(golden.name for golden in GOLDEN.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith("cfg")])
def test_xen_reads_it(file: str) -> None:
    read = parse_xl_cfg((GOLDEN / file).read_text(encoding="utf-8"))
    domain = DOMAINS[file.split(".", 1)[0]]
    kernel = "hvmloader" if file == "hvm.xm.cfg" else domain.kernel  # xend's firmware, which xl says it ignores
    assert (read["name"], read["memory"], read.get("kernel")) == (domain.name, str(domain.memory), kernel)


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith("xml")])
def test_libvirt_takes_it(file: str) -> None:
    command.run("virt-xml-validate", GOLDEN / file, "domain")
