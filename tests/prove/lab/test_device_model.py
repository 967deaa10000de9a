"""SeaBIOS for the lab: it waits no longer, and is changed in one known place, or in none."""

import pytest

from imagekit.errors import ToolError
from imagekit.prove.lab.device_model import impatient

WAIT = b"\xba" + (2500).to_bytes(4, "little")  # mov $2500, %edx
SHORT = b"\xba" + (1).to_bytes(4, "little")


def test_its_wait_is_shortened() -> None:
    before, behind = bytes(range(256)), b"\xba\xc4\x09\0\1"
    assert impatient(before + WAIT + behind) == before + SHORT + behind


@pytest.mark.parametrize("bios", [b"", bytes(256), WAIT[:-1], WAIT + b"\x90" + WAIT], ids=len)
def test_another_seabios(bios: bytes) -> None:
    with pytest.raises(ToolError, match="SeaBIOS does not wait where it used to") as caught:
        impatient(bios)
    assert "Debian 12" in caught.value.hint
