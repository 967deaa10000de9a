"""Boot menus as people write them, and as nobody should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.inspect.menus import LIMIT, SEARCHED, parse
from imagekit.inspect.report import Entry, Menu


def lst(text: str) -> Menu:
    return parse("/boot/grub/menu.lst", 1, text.encode())


def cfg(text: str) -> Menu:
    return parse("/boot/grub/grub.cfg", 1, text.encode())


def test_a_menu_lst() -> None:
    menu = lst("""
# a comment
default=1
timeout 0
title old
root (hd0)
kernel /old
title new one
    rootnoverify (hd0,0)
    kernel --type=linux /boot/app.xen a=1  --b=2
    module /boot/ramdisk
    savedefault
""")
    assert (menu.default, menu.timeout, menu.problems) == (1, 0, ())
    assert menu.chosen == Entry("new one", "(hd0,0)", "kernel", "/boot/app.xen", "a=1 --b=2", ("/boot/ramdisk",))


def test_a_grub_cfg() -> None:
    menu = cfg("""
set default="two words"
set timeout=5
insmod part_msdos
function f {
  linux /never
}
menuentry 'one' --class x { linux /one; }
if [ x = y ]; then set timeout=0; fi
submenu "more" {
  menuentry "two words" {
    set root='hd0,msdos1'
    echo "loading"   # a comment
    multiboot2 --quirk /boot/app.xen a "b c" --d=1
    module2 /boot/ramdisk x
  }
}
""")
    assert (menu.default, menu.timeout) == (1, 0)
    assert menu.chosen == Entry(
        "two words", "hd0,msdos1", "multiboot2", "/boot/app.xen", 'a "b c" --d=1', ("/boot/ramdisk x",)
    )
    assert [entry.title for entry in menu.entries] == ["one", "two words"]
    assert menu.problems == ()


def test_roots_are_set_outside_inside_or_searched_for() -> None:
    menu = cfg("root=hd0,1\nmenuentry a {\nlinux /a\n}\nmenuentry b {\nsearch --file /b\nlinux /b\n}\n")
    assert [(entry.title, entry.root) for entry in menu.entries] == [("a", ""), ("b", SEARCHED)]
    assert menu.root == "hd0,1"


def test_commands_outside_every_entry_need_a_boot() -> None:
    assert not cfg("linux /a\n").entries[0].boots
    assert cfg("multiboot /a\nboot\n").entries[0].boots


@pytest.mark.parametrize(
    "text,problem",
    [
        ("default 3\ntitle a\n", "default is 3, but there are 1 entries"),
        ("timeout soon\n", "timeout is no number: soon"),
        ("#" * LIMIT, "only the first 64 KiB are read"),
    ],
)
def test_what_is_wrong_is_told(text: str, problem: str) -> None:
    assert lst(text).problems == (problem,)


def test_what_is_not_followed_is_told() -> None:
    assert cfg("source /x\nmenuentry a {\n}\n").problems == ("`source` is not followed",)


def test_a_command_line_keeps_its_quotes() -> None:
    """As GRUB hands it on."""
    entry = cfg("menuentry 'a' {\nmultiboot '/k' 'a=1' 'b c=d' '' 'e'\n}\n").entries[0]
    assert entry.arguments == 'a=1 "b c=d"  e'


def test_an_open_quote_is_told() -> None:
    assert cfg("menuentry 'a {\n").problems == ("a line has an open quote",)


def test_no_menu_grows_without_end() -> None:
    assert len(lst("title x\n" * 5000).entries) == len(cfg("menuentry a {\n}\n" * 4000).entries) == 256


def test_a_menu_without_entries_chooses_none() -> None:
    assert lst("default saved\n").chosen is None


WORDS = [
    "menuentry",
    "'a'",
    '"',
    "{",
    "}",
    "linux",
    "/k",
    "\n",
    ";",
    "set",
    "root=",
    "timeout=",
    "title",
    "=",
    "if",
    "boot",
    "\\\n",
]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=40), st.booleans())
def test_no_text_makes_it_raise(words: list[str], grub2: bool) -> None:
    menu = (cfg if grub2 else lst)(" ".join(words).encode(errors="ignore").decode())
    assert menu.chosen is None or menu.chosen in menu.entries
