import pytest

from imagekit.errors import ToolError
from imagekit.prove.lab.device_model import impatient

WAIT = bytes.fromhex("ba c4090000")  # mov $2500, %edx


def test_a_bios_that_waits_is_told_not_to() -> None:
    before = b"code" + WAIT + b"more \xc4\x09\0\0"
    after = impatient(before)
    assert after == b"code" + bytes.fromhex("ba 01000000") + b"more \xc4\x09\0\0"


@pytest.mark.parametrize("bios", [b"", b"code", WAIT + b"code" + WAIT])
def test_a_bios_that_is_not_known_is_refused(bios: bytes) -> None:
    with pytest.raises(ToolError, match="does not wait where it used to"):
        impatient(bios)
