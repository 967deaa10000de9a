"""A library that is absent: a real program that is linked with a real one starts with ours in its place."""

import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from elftools.elf.elffile import ELFFile

from imagekit.command import run
from imagekit.errors import ToolError
from imagekit.prove.lab.absent import absent

if TYPE_CHECKING:
    from elftools.elf.dynamic import DynamicSegment

LIBRARY = """
int wanted(int n) { return n + 1; }
int also_wanted(int n) { return n + 2; }
int unwanted(int n) { return n + 3; }
"""
VERSIONS = "FIRST { global: wanted; unwanted; local: *; };\nSECOND { global: also_wanted; } FIRST;\n"
PROGRAM = """
int wanted(int), also_wanted(int);
int main(int count, char **words) { (void) words; return count > 1 ? wanted(0) + also_wanted(0) : 7; }
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a program that calls its library when it is given a word; names are bound at its start, as QEMU's."""
    sources = {"library.c": LIBRARY, "versions": VERSIONS, "program.c": PROGRAM}
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    made = tmp_path / "libwanted.so.1"
    soname = ("-Wl,-soname,libwanted.so.1", f"-Wl,--version-script,{tmp_path / 'versions'}")
    run("gcc", "-shared", "-fPIC", *soname, "-o", made, tmp_path / "library.c")
    run("gcc", "-Wl,-z,now", "-o", tmp_path / "program", tmp_path / "program.c", made)
    return tmp_path / "program"


def _names(library: Path) -> list[str]:
    with library.open("rb") as stream:
        (dynamic,) = ELFFile(stream).iter_segments("PT_DYNAMIC")
        return [symbol.name for symbol in cast("DynamicSegment", dynamic).iter_symbols()]


def _started(program: Path, *words: str) -> int:
    environment = {"LD_LIBRARY_PATH": str(program.parent)}
    return subprocess.run([program, *words], env=environment, check=False).returncode


def test_it_stands_in_until_it_is_called(program: Path) -> None:
    library = program.with_name("libwanted.so.1")
    assert (_started(program), _started(program, "call")) == (7, 3)
    library.write_bytes(absent(program, "libwanted.so.1"))
    assert _started(program) == 7
    assert _started(program, "call") == -signal.SIGILL


def test_it_has_the_names_that_are_wanted_and_no_others(program: Path, tmp_path: Path) -> None:
    made = tmp_path / "absent.so"
    made.write_bytes(absent(program, "libwanted.so.1"))
    assert absent(program, "libwanted.so.1") == made.read_bytes()
    assert _names(made) == ["", "also_wanted", "wanted"]


def test_of_a_library_that_it_does_not_want(program: Path, tmp_path: Path) -> None:
    made = tmp_path / "none.so"
    made.write_bytes(absent(program, "libnothing.so.1"))
    assert _names(made) == [""]


def test_a_program_that_tells_no_versions(tmp_path: Path) -> None:
    """One that is linked with nothing; and what is no program."""
    (tmp_path / "alone.c").write_text("void _start(void) { for (;;); }")
    run("gcc", "-nostdlib", "-static", "-o", tmp_path / "alone", tmp_path / "alone.c")
    with pytest.raises(ToolError, match="alone is not as in Debian 12") as caught:
        absent(tmp_path / "alone", "libwanted.so.1")
    assert caught.value.details == "it has no section .gnu.version_r"
    for content in (b"", b"#!/bin/sh\n"):
        (tmp_path / "script").write_bytes(content)
        with pytest.raises(ToolError, match="script is not as in Debian 12"):
            absent(tmp_path / "script", "libwanted.so.1")
