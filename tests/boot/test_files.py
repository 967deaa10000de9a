"""menu.lst and grub.cfg say the same, or one of them is left out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.boot import BootEntry, boot_files, shadowing
from imagekit.errors import RecipeError

MENU_LST, GRUB_CFG = "/boot/grub/menu.lst", "/boot/grub/grub.cfg"


def entry(cmdline: str = "", **fields: object) -> BootEntry:
    given: dict[str, object] = {"title": "app", "kernel": "/boot/app.xen", "cmdline": cmdline, **fields}
    return BootEntry(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("partition, root", [(None, "(hd0)"), (0, "(hd0,0)"), (2, "(hd0,2)")])
def test_menu_lst(partition: int | None, root: str) -> None:
    files = boot_files(entry("a=1 b", partition=partition, ramdisk="/boot/app.ramdisk"))
    assert files[MENU_LST] == (
        f"default 0\ntimeout 0\ntitle app\nroot {root}\nkernel /boot/app.xen a=1 b\ninitrd /boot/app.ramdisk\n"
    )
    assert files["/boot/menu.lst"] == files[MENU_LST]


def test_grub_cfg() -> None:
    assert boot_files(entry("a=1 b", ramdisk="/r"))[GRUB_CFG] == (
        'set default=0\nset timeout=0\nmenuentry "app" {\n  linux /boot/app.xen a=1 b\n  initrd /r\n}\n'
    )


def test_no_command_line() -> None:
    files = boot_files(entry())
    assert "kernel /boot/app.xen\n" in files[MENU_LST]
    assert "  linux /boot/app.xen\n" in files[GRUB_CFG]


def test_a_pvh_kernel_has_no_grub_cfg() -> None:
    assert set(boot_files(entry(pv=False))) == {MENU_LST, "/boot/menu.lst"}


@pytest.mark.parametrize(
    "cmdline",
    [
        "'a b'",
        'x="y"',
        "$HOME",
        "a;b",
        "a{b",
        "a}b",
        "#a",
        "a&b",
        "a|b",
        "a>b",
        "a*",
        "a?",
        "[a]",
        "(hd0)",
        "a\\b",
    ],
)
def test_what_grub_2_reads_otherwise_is_left_to_menu_lst(cmdline: str) -> None:
    files = boot_files(entry(cmdline))
    assert GRUB_CFG not in files
    assert f"kernel /boot/app.xen {cmdline}\n" in files[MENU_LST]


@pytest.mark.parametrize("cmdline", ["two  spaces", "gr\u00fc\u00dfe", "`id`", "!a"])
def test_so_is_what_grub_2_joins_or_garbles(cmdline: str) -> None:
    assert set(boot_files(entry(cmdline))) == {MENU_LST, "/boot/menu.lst"}


@pytest.mark.parametrize("cmdline", ["--ipv4=10.0.0.2/24", "a,b:c@d%e+f^g~h-i_j.k", "console=hvc0 panic=-1"])
def test_plain_words_are_in_both(cmdline: str) -> None:
    files = boot_files(entry(cmdline))
    assert f"linux /boot/app.xen {cmdline}\n" in files[GRUB_CFG]
    assert f"kernel /boot/app.xen {cmdline}\n" in files[MENU_LST]


@pytest.mark.parametrize("bad", ["a\nb", "a\tb", "a\0b", "\x1b[1m", "a\rb"])
def test_control_characters_are_refused(bad: str) -> None:
    with pytest.raises(RecipeError, match="no control characters"):
        boot_files(entry(bad))
    with pytest.raises(RecipeError, match="no control characters"):
        boot_files(entry(title=bad))


def test_a_backslash_at_the_end_is_refused() -> None:
    with pytest.raises(RecipeError, match="joins a line"):
        boot_files(entry("a\\"))


def test_what_pygrub_reads_first() -> None:
    assert shadowing(boot_files(entry("plain"))) == ()
    assert {GRUB_CFG, "/extlinux.conf", "/boot/grub2/grub.cfg"} <= set(shadowing(boot_files(entry("$"))))
    assert GRUB_CFG in shadowing(boot_files(entry(pv=False)))


@given(st.text(st.characters(min_codepoint=32)).map(str.strip).filter(lambda text: not text.endswith("\\")))
def test_each_file_holds_the_command_line_as_it_is(cmdline: str) -> None:
    files = boot_files(entry(cmdline))
    for name, command in ((MENU_LST, "kernel"), (GRUB_CFG, "  linux")):
        if name in files:
            (line,) = re.findall(rf"^{command} (.*)$", files[name], re.MULTILINE)
            assert line == f"/boot/app.xen {cmdline}".strip()
