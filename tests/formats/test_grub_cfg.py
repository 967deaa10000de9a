"""Our grub.cfg comes out as it went in; and what it has more, less, or in another place is refused."""

from contextlib import suppress

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from imagekit.boot import Command, grub_cfg
from imagekit.errors import UnsuitedError, VerificationError
from imagekit.formats.grub_cfg import parse_grub_cfg

TEXTS = st.one_of(
    st.text(st.sampled_from(" \"'\\$;={}#a-/\u00e9\U0001f40d(),`|&<>*?[]!~x4"), max_size=30),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20),
)
PATHS = TEXTS.map(lambda text: f"/{text}")
COMMANDS: st.SearchStrategy[Command] = st.sampled_from(["multiboot", "multiboot2", "linux"])
OURS = grub_cfg("app", "/boot/app.xen", "a=1 b", "multiboot", "/boot/app.ramdisk")
# What GRUB would do more, or otherwise.
FOREIGN = [
    "multiboot '/boot/evil.xen'",
    "multiboot /boot/evil.xen",
    "boot",
    "set default=1",
    "set root=(hd1)",
    "set fallback=1",
    "source /boot/evil.cfg",
    "configfile /boot/evil.cfg",
    "chainloader +1",
    "menuentry 'y' {",
    "submenu 'y' {",
    "function multiboot {",
    "if false; then",
    "if true; then",
    "else",
    "fi",
    "}",
    "echo 'x'; boot",
    "echo 'x",
    "'",
    "# no word",
    "",
    "\\",
    "module --nounzip '/boot/evil'",
    "outb 0x21 0x00",
]


@given(title=TEXTS, kernel=PATHS, cmdline=TEXTS, command=COMMANDS, ramdisk=st.none() | PATHS)
@example(title="{", kernel="/'", cmdline='"a  b"  c $e', command="linux", ramdisk="/ i'")
def test_it_is_read_as_it_was_written(
    title: str, kernel: str, cmdline: str, command: Command, ramdisk: str | None
) -> None:
    text = ""
    with suppress(UnsuitedError):
        text = grub_cfg(title, kernel, cmdline, command, ramdisk)
    assume(text)
    menu = parse_grub_cfg(text)
    assert (menu.command, menu.kernel, menu.cmdline, menu.ramdisk) == (command, kernel, cmdline, ramdisk or "")
    assert (menu.timeout, menu.masks) == ("0", command != "linux")


@given(at=st.integers(0, OURS.count("\n") + 1), line=st.sampled_from(FOREIGN))
def test_one_line_more(at: int, line: str) -> None:
    lines = OURS.split("\n")
    with pytest.raises(VerificationError, match="has a line that imagekit does not write"):
        parse_grub_cfg("\n".join([*lines[:at], line, *lines[at:]]))


@given(st.data())
def test_one_line_in_place_of_another(data: st.DataObject) -> None:
    lines = OURS.split("\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(st.sampled_from(FOREIGN) | TEXTS)
    assume(other.strip(" ") != lines[at].strip(" "))
    assume(other.split("'")[0] != lines[at].strip(" ").split("'")[0])  # what its words are is another matter
    with pytest.raises(VerificationError, match=r"has a line that imagekit does not write|is not whole"):
        parse_grub_cfg("\n".join([*lines[:at], other, *lines[at + 1 :]]))


@given(st.integers(0, len(OURS) - 1))
def test_a_piece_of_it(length: int) -> None:
    with pytest.raises(VerificationError, match=r"has a line that imagekit does not write|is not whole"):
        parse_grub_cfg(OURS[:length])


@given(st.text())
def test_any_text(text: str) -> None:
    with pytest.raises(VerificationError):
        parse_grub_cfg(text)


@pytest.mark.parametrize("character", ["\0", "\r", "\t", "\x1b", "\x7f"])
def test_a_control_character_in_a_word(character: str) -> None:
    """GRUB's reader of lines ends one at a NUL: its quote would go on in the next."""
    with pytest.raises(VerificationError, match="has a line that imagekit does not write"):
        parse_grub_cfg(OURS.replace("b'", f"b{character}'"))


def test_what_may_differ() -> None:
    bare = "set default=0\nset timeout=5\nmenuentry 'x' {\nmultiboot '/k'\noutb 0x21 0xff\noutb 0xa1 0xff\n}\n"
    menu = parse_grub_cfg(bare)
    assert (menu.timeout, menu.kernel, menu.cmdline, menu.ramdisk, menu.masks) == ("5", "/k", "", "", True)
    without = bare.replace("outb 0x21 0xff\noutb 0xa1 0xff\n", "")
    assert not parse_grub_cfg(without).masks
    for text in (bare.replace("outb 0xa1 0xff\n", ""), without.replace("multiboot", "linux") + "outb 0x21 0xff\n"):
        with pytest.raises(VerificationError, match="does not write"):
            parse_grub_cfg(text)
    with pytest.raises(VerificationError, match="does not write") as caught:
        parse_grub_cfg(bare.replace("outb 0x21", "initrd '/i'\noutb 0x21"))
    assert caught.value.details == "line 5: \"initrd '/i'\""
