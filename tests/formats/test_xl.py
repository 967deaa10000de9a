"""What is written is read back by Xen's own parser."""

from hypothesis import given
from hypothesis import strategies as st

from imagekit.formats.domain import CMDLINE_LIMIT, Disk, Domain, Vif
from imagekit.formats.xl import xl_cfg
from imagekit.verify.xlu import DiskSpec, parse_xl_cfg, parse_xl_disk

LINES = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"))
# The characters that mean something to one of the two parsers come up often.
TRICKY = st.text(st.sampled_from("\"'\\,:=#;[]+x0n \u00e9\U0001f40d"))
CMDLINES = (LINES | TRICKY).filter(lambda line: len(line.encode()) <= CMDLINE_LIMIT)
PATHS = (LINES | TRICKY).map("/".__add__)


@given(CMDLINES)
def test_any_command_line_survives(cmdline: str) -> None:
    read = parse_xl_cfg(xl_cfg(Domain(name="app", kind="pvh", memory=32, kernel="/k", cmdline=cmdline)))
    assert read.get("cmdline", "") == cmdline


@given(PATHS, PATHS)
def test_any_kernel_and_ramdisk_survive(kernel: str, ramdisk: str) -> None:
    read = parse_xl_cfg(xl_cfg(Domain(name="app", kind="pv", memory=32, kernel=kernel, ramdisk=ramdisk)))
    assert (read["kernel"], read["ramdisk"]) == (kernel, ramdisk)


@given(PATHS, st.sampled_from(["raw", "qcow2", "vhd"]), st.sampled_from(["rw", "ro"]))
def test_any_disk_survives(path: str, form: str, access: str) -> None:
    disk = Disk(path=path, vdev="xvdb1", access=access, format=form)  # type: ignore[arg-type]
    read = parse_xl_cfg(xl_cfg(Domain(name="app", kind="pv", memory=32, disks=(disk,))))
    assert parse_xl_disk(read["disk"][0]) == DiskSpec(path, "xvdb1", form, access == "rw")


@given(st.integers(1, 2**31), st.integers(1, 4096))
def test_numbers_survive(memory: int, vcpus: int) -> None:
    read = parse_xl_cfg(xl_cfg(Domain(name="app", kind="pv", memory=memory, vcpus=vcpus, kernel="/k")))
    assert (read["memory"], read["vcpus"]) == (str(memory), str(vcpus))


def test_nothing_is_said_of_what_is_left_to_the_host() -> None:
    read = parse_xl_cfg(xl_cfg(Domain(name="app", kind="pv", memory=32, kernel="app.xen")))
    assert read == {
        "name": "app",
        "type": "pv",
        "kernel": "app.xen",
        "memory": "32",
        "vcpus": "1",
        "on_poweroff": "destroy",
        "on_reboot": "restart",
        "on_crash": "destroy",
    }


def test_every_field_is_written() -> None:
    domain = Domain(
        name="app",
        kind="pvh",
        memory=32,
        disks=(Disk(path="/a"), Disk(path="/b", vdev="xvdb")),
        vifs=(Vif(), Vif(bridge="br0", mac="00:16:3e:00:00:01", ip="2001:db8::1", script="vif-route")),
        cmdline="--l debug",
        on_poweroff="preserve",
        on_reboot="destroy",
        on_crash="coredump-restart",
        uuid="8c7e4b4e-0f2f-4f57-9d0e-5f6a3f6e2b11",
    )
    assert parse_xl_cfg(xl_cfg(domain)) == {
        "name": "app",
        "uuid": "8c7e4b4e-0f2f-4f57-9d0e-5f6a3f6e2b11",
        "type": "pvh",
        "bootloader": "pygrub",
        "cmdline": "--l debug",
        "memory": "32",
        "vcpus": "1",
        "disk": ["format=raw, vdev=xvda, access=rw, target=/a", "format=raw, vdev=xvdb, access=rw, target=/b"],
        "vif": ["", "mac=00:16:3e:00:00:01,bridge=br0,ip=2001:db8::1,script=vif-route"],
        "on_poweroff": "preserve",
        "on_reboot": "destroy",
        "on_crash": "coredump-restart",
    }


def test_the_first_lines_say_how_to_start_it() -> None:
    head = xl_cfg(Domain(name="www", kind="pv", memory=32, kernel="/k")).splitlines()[:2]
    assert head == ["# Made by imagekit.", "# Start it, with its console: xl create -c, and this file's name"]
