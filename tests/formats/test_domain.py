from collections.abc import Mapping
from typing import Any

import pytest

from imagekit.errors import RecipeError
from imagekit.formats.domain import CMDLINE_LIMIT, Disk, Domain, Vif

DISKS = (Disk(path="/srv/app.img"),)


def domain(**changes: object) -> Domain:
    fields: dict[str, Any] = {"name": "app", "kind": "pv", "memory": 64, "disks": DISKS, **changes}
    return Domain(**fields)


def test_a_kernel_decides_who_boots() -> None:
    assert domain().boot == "bootloader"
    assert domain(kernel="app.xen", disks=()).boot == "direct"


def test_what_ends_or_crashes_is_gone_and_what_reboots_comes_back() -> None:
    plain = domain()
    assert (plain.on_poweroff, plain.on_crash, plain.on_reboot) == ("destroy", "destroy", "restart")


@pytest.mark.parametrize("name", ["a", "mirage-www", "www.example.org:1+2", "_x", "7up", "a" * 128])
def test_names_that_xen_takes(name: str) -> None:
    assert domain(name=name).name == name


@pytest.mark.parametrize("name", ["", "42", "-c", "a b", "a/b", "a\n", "é", "a'b", "a" * 129])
def test_names_that_xen_misreads(name: str) -> None:
    with pytest.raises(RecipeError, match="name"):
        domain(name=name)


def test_the_command_line_is_measured_in_bytes() -> None:
    assert len(domain(cmdline="x" * CMDLINE_LIMIT).cmdline) == CMDLINE_LIMIT
    with pytest.raises(RecipeError, match="1023 bytes"):
        domain(cmdline="x" * (CMDLINE_LIMIT - 1) + "é")


@pytest.mark.parametrize("text", ["two\nlines", "\r", "tab\there", "nul\0", "\x7f", "\x85", "\ud800", "\uffff"])
def test_text_that_some_format_cannot_hold(text: str) -> None:
    with pytest.raises(RecipeError, match="command line has the character"):
        domain(cmdline=text)
    with pytest.raises(RecipeError, match="kernel's path has the character"):
        domain(kernel=text)
    with pytest.raises(RecipeError, match="disk's path has the character"):
        Disk(path=f"/{text}")


@pytest.mark.parametrize(
    "changes",
    [
        {"disks": ()},
        {"ramdisk": "/srv/initrd"},
        {"kernel": " "},
        {"kernel": "/k", "ramdisk": ""},
        {"bootloader": ""},
        {"memory": 0},
        {"vcpus": 0},
        {"kind": "pvhvm"},
        {"kind": "hvm", "kernel": "/k"},
        {"kind": "hvm", "cmdline": "a=1"},
        {"kind": "hvm", "disks": ()},
        {"on_poweroff": "coredump-destroy"},
        {"on_reboot": "reboot"},
        {"on_crash": "panic"},
        {"uuid": "not-one"},
        {"uuid": "00000000000000000000000000000000"},
        {"disks": (Disk(path="/a"), Disk(path="/b"))},
        {"vifs": (Vif(mac="00:16:3e:00:00:0a"), Vif(mac="00:16:3E:00:00:0A"))},
    ],
    ids=str,
)
def test_what_cannot_be_meant(changes: Mapping[str, object]) -> None:
    with pytest.raises(RecipeError):
        domain(**changes)


@pytest.mark.parametrize(
    "mac", ["", "00:16:3e:00:00", "01:00:5e:00:00:01", "00-16-3e-00-00-01", "00:16:3e:00:00:0g"]
)
def test_addresses_that_no_guest_can_have(mac: str) -> None:
    with pytest.raises(RecipeError, match="MAC address"):
        Vif(mac=mac)


@pytest.mark.parametrize("ip", ["", "192.0.2.0/24", "192.0.2.300", "fe80::1%eth0", "a, b"])
def test_no_ip_address(ip: str) -> None:
    with pytest.raises(RecipeError):
        Vif(ip=ip)


@pytest.mark.parametrize(
    "vif", [{"bridge": "br0,ip=1"}, {"bridge": ""}, {"script": "a b"}, {"script": "x,y"}], ids=str
)
def test_a_vif_has_no_second_pair_hidden_in_it(vif: dict[str, str]) -> None:
    with pytest.raises(RecipeError):
        Vif(**vif)


@pytest.mark.parametrize("vdev", ["xvda", "xvda1", "xvdz15", "xvdaa"])
def test_names_of_a_disk_in_the_guest(vdev: str) -> None:
    assert Disk(path="/a", vdev=vdev).vdev == vdev


@pytest.mark.parametrize(
    "disk",
    [
        {"path": ""},
        {"path": "app.img"},
        {"path": "/a", "vdev": "sda"},
        {"path": "/a", "vdev": "xvda0"},
        {"path": "/a", "access": "w"},
        {"path": "/a", "format": "vdi"},
    ],
    ids=str,
)
def test_a_disk_that_cannot_be_meant(disk: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        Disk(**disk)


def test_devices_of_the_host_are_told_by_their_path() -> None:
    assert Disk(path="/dev/vg/app").is_device
    assert not Disk(path="/devices/app.img").is_device


def test_an_error_says_what_to_do() -> None:
    with pytest.raises(RecipeError) as error:
        domain(name="42")
    assert str(error.value) == "the domain name '42' is a number\nhint: xl would take it for a domain's id"
