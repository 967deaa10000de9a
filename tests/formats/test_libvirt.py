"""What is written is held against libvirt's own schema, and read back as XML."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit import command
from imagekit.errors import RecipeError, ToolError
from imagekit.formats.domain import CMDLINE_LIMIT, Disk, Domain, Vif
from imagekit.formats.libvirt import domain_xml

LINES = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"))
DISK = Disk(path="/srv/app.img")


def parsed(domain: Domain) -> ET.Element:
    return ET.fromstring(domain_xml(domain))  # noqa: S314 -- our own text


def attributes(domain: Domain, path: str) -> list[dict[str, str]]:
    return [element.attrib for element in parsed(domain).iterfind(path)]


@given(LINES.filter(lambda line: len(line.encode()) <= CMDLINE_LIMIT), LINES.map("/k".__add__))
def test_any_text_survives(cmdline: str, kernel: str) -> None:
    domain = Domain(name="app", kind="pv", memory=64, kernel=kernel, cmdline=cmdline, disks=(Disk(path=kernel),))
    root = parsed(domain)
    assert root.findtext("os/cmdline", "") == cmdline
    assert root.findtext("os/kernel") == kernel
    assert attributes(domain, "devices/disk/source") == [{"file": kernel}]


@pytest.mark.parametrize("kind, machine, system", [("pv", "xenpv", "linux"), ("pvh", "xenpvh", "xenpvh")])
def test_the_kind_is_the_machine(kind: str, machine: str, system: str) -> None:
    root = parsed(Domain(name="app", kind=kind, memory=64, kernel="/k"))  # type: ignore[arg-type]
    assert root.findtext(f"os/type[@machine='{machine}']") == system


def test_an_hvm_domain_boots_by_its_disk() -> None:
    root = parsed(Domain(name="app", kind="hvm", memory=64, disks=(DISK,)))
    assert root.findtext("os/type[@machine='xenfv']") == "hvm"
    assert root.find("os/boot[@dev='hd']") is not None
    assert (root.find("bootloader"), root.find("os/kernel")) == (None, None)
    assert root.find("devices/serial/target[@port='0']") is not None


def test_memory_has_its_unit() -> None:
    root = parsed(Domain(name="app", kind="pv", memory=64, kernel="/k"))
    assert root.findtext("memory[@unit='MiB']") == "64"


def test_a_boot_loader_or_a_kernel() -> None:
    by_disk = parsed(Domain(name="app", kind="pv", memory=64, disks=(DISK,)))
    direct = parsed(Domain(name="app", kind="pv", memory=64, kernel="/k", ramdisk="/r"))
    assert (by_disk.findtext("bootloader"), by_disk.find("os/kernel")) == ("pygrub", None)
    assert (direct.findtext("os/initrd"), direct.find("bootloader")) == ("/r", None)


def test_disks_of_every_sort() -> None:
    disks = (
        DISK,
        Disk(path="/dev/vg/a", vdev="xvdb", access="ro"),
        Disk(path="/a.qcow2", vdev="xvdc", format="qcow2"),
        Disk(path="/a.vhd", vdev="xvdd", format="vhd"),
    )
    domain = Domain(name="app", kind="pv", memory=64, disks=disks)
    assert attributes(domain, "devices/disk/driver") == [
        {"type": "raw"},
        {"type": "raw"},
        {"name": "qemu", "type": "qcow2"},
        {"name": "qemu", "type": "vhd"},
    ]
    assert [set(source) for source in attributes(domain, "devices/disk/source")] == [
        {"file"},
        {"dev"},
        {"file"},
        {"file"},
    ]
    assert attributes(domain, "devices/disk[readonly]/target") == [{"dev": "xvdb", "bus": "xen"}]


def test_interfaces_of_every_sort() -> None:
    vifs = (
        Vif(),
        Vif(bridge="br0", mac="00:16:3e:00:00:01", ip="192.0.2.7"),
        Vif(ip="2001:db8::7", script="vif-route"),
    )
    domain = Domain(name="app", kind="pv", memory=64, kernel="/k", vifs=vifs)
    assert [one["type"] for one in attributes(domain, "devices/interface")] == ["ethernet", "bridge", "ethernet"]
    assert attributes(domain, "devices/interface/mac") == [{"address": "00:16:3e:00:00:01"}]
    assert attributes(domain, "devices/interface/source") == [{"bridge": "br0"}]
    assert [ip["family"] for ip in attributes(domain, "devices/interface/ip")] == ["ipv4", "ipv6"]
    assert attributes(domain, "devices/interface/script") == [{"path": "vif-route"}]


@pytest.mark.parametrize("paths", [{"kernel": "app.xen"}, {"kernel": "/k", "ramdisk": "initrd"}], ids=str)
def test_relative_paths_are_refused(paths: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="whole path"):
        domain_xml(Domain(name="app", kind="pv", memory=64, **paths))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda text: text.replace("xenpvh", "xenpw"),
        lambda text: text.replace("<vcpu>", "<vcpus>").replace("</vcpu>", "</vcpus>"),
        lambda text: text.replace('bus="xen"', 'bus="ata"'),
        lambda text: text.replace("</domain>", ""),
    ],
)
def test_the_schema_refuses_what_is_wrong(break_it: Callable[[str], str], tmp_path: Path) -> None:
    text = domain_xml(Domain(name="app", kind="pvh", memory=64, disks=(DISK,)))
    file = tmp_path / "app.xml"
    file.write_text(text, encoding="utf-8")
    command.run("virt-xml-validate", file, "domain")
    file.write_text(break_it(text), encoding="utf-8")
    with pytest.raises(ToolError, match="virt-xml-validate failed"):
        command.run("virt-xml-validate", file, "domain")
