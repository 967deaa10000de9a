"""What is written is run as `xm create` ran it, and read by xl, too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import RecipeError
from imagekit.formats.domain import CMDLINE_LIMIT, Disk, Domain, Vif
from imagekit.formats.xl import xm_cfg
from imagekit.verify.xlu import parse_xl_cfg


def run(text: str) -> dict[str, object]:
    """Return what the text assigns; no name is there to be called."""
    names: dict[str, object] = {}
    exec(compile(text, "app.cfg", "exec"), {"__builtins__": {}}, names)  # noqa: S102 -- as xm did
    return names


def test_the_smallest_configuration() -> None:
    domain = Domain(name="app", kind="pv", memory=1024, kernel="app.xen", vifs=(Vif(bridge="eth0"),))
    assert run(xm_cfg(domain)) == {
        "name": "app",
        "kernel": "app.xen",
        "memory": 1024,
        "vcpus": 1,
        "superpages": 1,
        "vif": ["bridge=eth0"],
        "on_poweroff": "destroy",
        "on_reboot": "restart",
        "on_crash": "destroy",
    }


def test_a_disk_that_boots_by_pygrub() -> None:
    domain = Domain(
        name="app",
        kind="pv",
        memory=64,
        disks=(Disk(path="/srv/app.img"), Disk(path="/dev/vg/data", vdev="xvdb", access="ro")),
        uuid="8c7e4b4e-0f2f-4f57-9d0e-5f6a3f6e2b11",
    )
    names = run(xm_cfg(domain))
    assert names["bootloader"] == "pygrub"
    assert names["uuid"] == domain.uuid
    assert names["disk"] == ["file:/srv/app.img,xvda,w", "phy:/dev/vg/data,xvdb,r"]


@pytest.mark.parametrize(
    "form, path, expected",
    [
        ("qcow2", "/a.qcow2", "tap:qcow2:/a.qcow2,xvda,w"),
        ("vhd", "/dev/vg/a", "tap:vhd:/dev/vg/a,xvda,w"),
    ],
)
def test_formats_that_need_a_driver(form: str, path: str, expected: str) -> None:
    disk = Disk(path=path, format=form)  # type: ignore[arg-type]
    assert run(xm_cfg(Domain(name="app", kind="pv", memory=64, disks=(disk,))))["disk"] == [expected]


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=CMDLINE_LIMIT))
def test_any_ascii_command_line_means_the_same_to_xm_and_xl(cmdline: str) -> None:
    text = xm_cfg(Domain(name="app", kind="pv", memory=64, kernel="/k", ramdisk="/r", cmdline=cmdline))
    assert run(text).get("extra", "") == parse_xl_cfg(text).get("extra", "") == cmdline


def test_superpages_only_where_all_memory_fits_them() -> None:
    assert "superpages" not in run(xm_cfg(Domain(name="app", kind="pv", memory=65, kernel="/k")))


@pytest.mark.parametrize(
    "domain, words",
    [
        (Domain(name="app", kind="pvh", memory=64, kernel="/k"), "starts no pvh domain"),
        (Domain(name="app", kind="pv", memory=64, kernel="/k", cmdline="é"), "ASCII"),
        (Domain(name="app", kind="pv", memory=64, disks=(Disk(path="/a,b"),)), "'/a,b'"),
    ],
)
def test_what_xm_cannot_say(domain: Domain, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        xm_cfg(domain)
