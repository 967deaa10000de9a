"""The strongest read-back: a real Linux kernel mounts what we made without one."""

import pytest

from imagekit.errors import VerificationError
from imagekit.verify import verify
from imagekit.verify.linux import check_by_linux
from imagekit.verify.pygrub import take
from imagekit.verify.scratch import scratch
from imagekit.verify.table import Spot, Spots
from tests.verify.lie import Built

pytestmark = pytest.mark.guestfs


def test_linux_reads_what_we_made(artifact: Built) -> None:
    image = artifact(disk__layout="gpt", filesystem__type="ext4")
    (check,) = [check for check in verify(image.main, guestfs=True) if check.name == "Linux"]
    assert check.verdict == "ok"
    assert check.seen == "mounts it, reads 7 files and folders, and the same kernel"


def test_linux_finds_another_kernel(artifact: Built) -> None:
    image = artifact()
    with scratch(image.main) as room:
        taken = take(room)
        spot = Spot("plain", 0, image.main.stat().st_size, 0)
        with pytest.raises(VerificationError, match=r"Linux reads another kernel at /boot/menu\.lst"):
            check_by_linux(room, Spots(spot, spot), "/boot/menu.lst", taken, None)


@pytest.mark.long
def test_linux_finds_no_file_system(artifact: Built) -> None:
    image = artifact()
    with scratch(image.main) as room:
        taken = take(room)
        spot = Spot("mbr", 0, image.main.stat().st_size, 1)
        with pytest.raises(VerificationError, match="Linux cannot read the file system"):
            check_by_linux(room, Spots(spot, spot), "/boot/hello.xen", taken, None)
