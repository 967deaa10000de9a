"""What guests wrote, made tame for a terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from imagekit.terminal import LAST, last_lines, plain


def test_a_terminal_would_show_the_same() -> None:
    assert plain("\x1b[30m\x1b[47mWelcome\x1b[H\x1b[J\x1b[1;1H\n\r\x1b(B\x1b[?25l\x1b=x\ty\x07") == "Welcome\nx\ty"


@given(st.text(st.characters(codec="utf-8", categories=("Cc", "Lu")) | st.sampled_from("\x1b[];m?(\x9b")))
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    assert {char for char in plain(text) if unicodedata.category(char) == "Cc"} <= {"\t", "\n"}


@given(st.binary(max_size=300))
def test_a_hostile_console_comes_out_tame(console: bytes) -> None:
    told = plain(console.decode(errors="backslashreplace"))
    assert not set(told) & {"\x1b", "\x9b", "\r", "\x08"}


def test_the_last_lines_are_those_with_words() -> None:
    said = b"".join(b"\x1b[31mline %d\x1b[0m\r\n\r\n" % number for number in range(50))
    assert last_lines(said).splitlines() == [f"line {number}" for number in range(50 - LAST, 50)]
    assert last_lines(b"\xff half a line") == "\\xff half a line"
    assert last_lines(b"\r\n \r\n") == ""
