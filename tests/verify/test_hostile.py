"""Sidecars and menus that no build of ours has written: a VerificationError each, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import UsageError, VerificationError
from imagekit.verify import verify
from imagekit.verify.menu import Menu, parse_menu
from tests.verify.lie import Built


@pytest.mark.parametrize(
    "place,value",
    [
        ("layout.offset", -512),
        ("layout.offset", 1 << 70),
        ("layout.offset", "0"),
        ("layout.filesystem", None),
        ("layout.identity", "../../x"),
        ("kernel.path", "/boot/x\nrm /boot/hello.xen"),
        ("kernel.path", "boot/hello.xen"),
        ("kernel.digest", "A" * 64),
        ("boot.way", "by magic"),
        ("boot.memory", 0),
        ("boot.memory", 1.5),
        ("boot.cmdline", "a\0b"),
        ("boot.cmdline", "\ud800"),
        ("boot.vcpus", True),
        ("companions", {"/../../x": "00" * 32}),
        ("companions", {".cfg/../..": "00" * 32}),
        ("companions", {".cfg": 7}),
        ("companions", []),
        ("architecture", "vax"),
        ("schema", "imagekit/artifact/99"),
        ("length", -1),
        ("length", 1 << 200),
        ("blocks", [[-1, "00" * 32]]),
        ("blocks", [[1 << 70, "00" * 32]]),
        ("blocks", [[0]]),
        ("blocks", [[0, "zz"]]),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_claim_that_cannot_be(artifact: Built, place: str, value: object) -> None:
    image = artifact()
    image.tell(place, value)
    with pytest.raises(VerificationError) as error:
        list(verify(image.main))
    str(error.value).encode()  # can be printed


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"schema": NaN}'])
def test_a_sidecar_that_is_none(artifact: Built, data: bytes) -> None:
    image = artifact()
    image.sidecar.write_bytes(data)
    with pytest.raises(VerificationError):
        list(verify(image.main))


def test_a_folder_for_a_sidecar(artifact: Built) -> None:
    image = artifact()
    image.sidecar.unlink()
    image.sidecar.mkdir()
    with pytest.raises((VerificationError, UsageError)):
        list(verify(image.main))


def test_a_table_within_a_table(artifact: Built) -> None:
    image = artifact()
    content: dict[str, Any] = json.loads(image.sidecar.read_bytes())
    content["kernel"]["features"] = {"deep": [[[{}]]]}
    image.sidecar.write_text(json.dumps(content))
    with pytest.raises(VerificationError, match="says of the kernel what the kernel does not"):
        list(verify(image.main))


def test_the_menu_as_grub_reads_it() -> None:
    text = """# default 1
default=1
timeout = 10

title first
kernel /one
title second
  root (hd0,2)
\tkernel --no-mem-option (hd0,0)/boot/two  a=b  c
initrd\t/ramdisk
"""
    assert parse_menu(text) == Menu("10", "(hd0,0)", "/boot/two", "a=b  c", "/ramdisk")


def test_a_root_before_the_entries_is_for_all() -> None:
    assert parse_menu("root (hd1)\ntitle x\nkernel=/k\n").root == "(hd1)"


@pytest.mark.parametrize(
    "text,reason",
    [
        ("", "has 0 entries"),
        ("default 1\ntitle x\nkernel /k", "has 1 entries, and none that is number 1"),
        ("title x\nroot (hd0)", "names no kernel"),
        ("title x\nkernel k", "names no kernel"),
    ],
)
def test_a_menu_that_boots_nothing(text: str, reason: str) -> None:
    with pytest.raises(VerificationError, match=reason):
        parse_menu(text)


@given(
    st.lists(st.sampled_from(["title", "kernel", "default", "root", "=", " ", "/", "(hd0)", "\n", "0", "#"])).map(
        "".join
    )
    | st.text()
)
def test_no_menu_brings_the_parser_down(text: str) -> None:
    try:
        parse_menu(text)
    except VerificationError:
        return
