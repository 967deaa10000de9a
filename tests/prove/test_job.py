"""What dom0 is given: a tar, an xl.cfg for each way, shell variables that a shell reads."""

import io
import tarfile
from ipaddress import IPv4Interface
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.kernel import Way
from imagekit.prove.job import Guest, Network, check_job, job

MIB = 1 << 20
LOADERS = {
    Way.PV_DIRECT: ("pv", 'kernel = "/lab/kernel"'),
    Way.PYGRUB_PV: ("pv", 'bootloader = "/usr/lib/lab/pygrub"'),
    Way.PV_GRUB: ("pv", 'kernel = "/usr/lib/lab/pv-grub.bin"'),
    Way.PVH: ("pvh", 'kernel = "/lab/kernel"'),
    Way.PVH_PYGRUB: ("pvh", 'bootloader = "/usr/lib/lab/pygrub"'),
    Way.MULTIBOOT: ("pvh", 'kernel = "/usr/lib/lab/pvh-grub.bin"'),
    Way.HVM: ("hvm", 'boot = "c"'),
}


def files(paper: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(paper)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def cfg(guest: Guest) -> list[str]:
    return files(job(guest))["guest.cfg"].decode().splitlines()


@pytest.mark.parametrize("way", list(Way))
def test_each_way_has_its_loader(way: Way) -> None:
    kind, loader = LOADERS[way]
    lines = cfg(Guest(way, 32 * MIB, vcpus=2, kernel=b"kernel", cmdline="a=1"))
    assert {f'type = "{kind}"', loader, "memory = 32", "vcpus = 2", 'on_reboot = "preserve"'} <= set(lines)
    assert '    "format=raw, vdev=xvda, access=rw, target=/dev/lab-disk",' in lines
    assert len([line for line in lines if line.startswith(("kernel", "bootloader", "boot "))]) == 1


@pytest.mark.parametrize("way", list(Way))
def test_the_kernel_and_its_words_go_along_only_where_xl_loads_it(way: Way) -> None:
    guest = Guest(way, 32 * MIB, kernel=b"\x7fELF", ramdisk=b"cpio", cmdline='a="1"')
    content = files(job(guest))
    direct = way in {Way.PV_DIRECT, Way.PVH}
    assert set(content) == {"guest.cfg", "job.sh"} | ({"kernel", "ramdisk"} if direct else set())
    assert content.get("kernel", b"\x7fELF") == b"\x7fELF"
    assert content.get("ramdisk", b"cpio") == b"cpio"
    assert (r'cmdline = "a=\"1\""' in cfg(guest)) == direct
    assert ('ramdisk = "/lab/ramdisk"' in cfg(guest)) == direct


def test_without_a_disk() -> None:
    assert not [line for line in cfg(Guest(Way.PVH, 32 * MIB, disk=False, kernel=b"k")) if "disk" in line]


def test_a_network_is_told_to_xl_to_the_shell_and_to_the_guest(tmp_path: Path) -> None:
    network = Network(IPv4Interface("10.0.0.1/24"), urlsplit("http://10.0.0.2:8080/a?b=c#d"))
    guest = Guest(Way.PYGRUB_PV, 32 * MIB, network=network)
    paper = tmp_path / "job.tar"
    paper.write_bytes(job(guest) + bytes(512))  # dom0 reads it from a disk, whose size is whole sectors
    run("tar", "-C", tmp_path, "-xf", paper)
    assert '    "mac=00:16:3e:00:00:01,script=vif-lab",' in cfg(guest)
    assert (tmp_path / "request").read_bytes() == (
        b"GET /a?b=c HTTP/1.1\r\nHost: 10.0.0.2:8080\r\nUser-Agent: imagekit\r\nConnection: close\r\n\r\n"
    )
    said = run("sh", "-c", '. "$0" && echo "$LAB_NETWORK" $LAB_GET', tmp_path / "job.sh").text()
    assert said == "10.0.0.1/24 10.0.0.2 8080\n"


def test_an_hvm_guest_has_the_labs_devices() -> None:
    network = Network(IPv4Interface("10.0.0.1/24"), urlsplit("http://10.0.0.2/"))
    lines = cfg(Guest(Way.HVM, 32 * MIB, network=network))
    assert '    "mac=00:16:3e:00:00:01,script=vif-lab,type=vif",' in lines
    # libxlu takes the last.
    assert [line for line in lines if line.startswith("serial")][-1] == 'serial = "file:/dev/ttyS1"'
    assert {'hdtype = "ahci"', 'vga = "none"', "vnc = 0"} <= set(lines)


def test_a_url_without_port_and_path() -> None:
    network = Network(IPv4Interface("10.0.0.1/24"), urlsplit("http://10.0.0.2"))
    assert network.request().startswith(b"GET / HTTP/1.1\r\nHost: 10.0.0.2\r\n")
    assert b"LAB_GET='10.0.0.2 80'\n" in files(job(Guest(Way.PV_GRUB, MIB, network=network)))["job.sh"]


def test_a_check_starts_nothing() -> None:
    assert files(check_job(b"nonsense")) == {"guest.cfg": b"nonsense", "job.sh": b"LAB_CHECK=1\n"}


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_bytes_arrive_as_they_are(kernel: bytes, ramdisk: bytes) -> None:
    content = files(job(Guest(Way.PVH, MIB, kernel=kernel, ramdisk=ramdisk)))
    assert content["kernel"] == kernel
    assert content.get("ramdisk", b"") == ramdisk


def test_equal_guests_have_equal_jobs() -> None:
    guest = Guest(Way.PVH, 32 * MIB, kernel=b"kernel")
    assert job(guest) == job(guest)
