"""What `xl_cfg` wrote is read back as the same domain, and nothing else is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import VerificationError
from imagekit.formats.domain import Disk, Domain, Vif
from imagekit.formats.xl import xl_cfg
from imagekit.formats.xl_reading import domain_of
from tests.formats.test_golden import DOMAINS
from tests.formats.test_xl import CMDLINES, PATHS

DISKS = st.builds(
    Disk,
    path=PATHS.filter(str.strip),
    vdev=st.sampled_from(["xvda"]),
    access=st.sampled_from(["rw", "ro"]),
    format=st.sampled_from(["raw", "qcow2", "vhd"]),
)
VIFS = st.builds(
    Vif,
    bridge=st.sampled_from([None, "xenbr0", "ovs:1.2"]),
    mac=st.sampled_from([None, "00:16:3e:5a:00:01"]),
    ip=st.sampled_from([None, "192.0.2.7", "2001:db8::7"]),
    script=st.sampled_from([None, "vif-route", "/etc/xen/scripts/x"]),
)


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_goldens(name: str) -> None:
    assert domain_of(xl_cfg(DOMAINS[name])) == DOMAINS[name]


@given(DISKS, VIFS, CMDLINES, st.none() | PATHS)
def test_any_domain_comes_back(disk: Disk, vif: Vif, cmdline: str, kernel: str | None) -> None:
    domain = Domain(name="app", kind="pv", memory=32, disks=(disk,), vifs=(vif,), cmdline=cmdline, kernel=kernel)
    assert domain_of(xl_cfg(domain)) == domain


@pytest.mark.parametrize(
    "edit",
    [
        (r"memory = 256", "memory = 257 # more"),
        (r"^# Made.*\n", ""),
        (r"name = .*\n", ""),
        (r'"app"', "'app'"),
        (r"\]\n", "\n", 1),
        (r"format=raw, ", ""),
        (r'type = "pv"', 'type = "hvm"'),
        (r"\Z", "import os\n"),
        (r'"app"', '"../app"'),
        (r"bridge=", "model=e1000,bridge="),
    ],
)
def test_what_is_not_ours_is_refused(edit: tuple[str, str]) -> None:
    text = re.sub(edit[0], edit[1], xl_cfg(DOMAINS["pv-pygrub"]), flags=re.MULTILINE)
    assert text != xl_cfg(DOMAINS["pv-pygrub"])
    with pytest.raises(VerificationError, match=r"xl\.cfg"):
        domain_of(text)


@given(st.text(max_size=200))
def test_rubbish_is_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        domain_of(text)
