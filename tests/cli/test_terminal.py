"""Help, versions, completion, colours: what the program is like at a terminal."""

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from imagekit import __version__
from imagekit.errors import ExitCode
from tests.cli.conftest import SCRIPT, Cli


def test_help_is_a_result(script: Cli) -> None:
    for option in ("--help", "-h"):
        said = script(option)
        assert (said.code, said.err) == (0, "")
        for command in ("build", "plan", "targets", "schema", "cache", "inspect", "verify", "doctor"):
            assert re.search(rf"^ +{command} ", said.out, re.MULTILINE)
        for code in ExitCode:
            assert str(code.value) in said.out


@pytest.mark.parametrize(
    "command", [("build",), ("plan",), ("cache",), ("cache", "prune"), ("schema",), ("targets",)]
)
def test_every_command_has_help(command: tuple[str, ...], cli: Cli) -> None:
    for option in ("--help", "-h"):
        said = cli(*command, option)
        assert (said.code, said.err) == (0, "")
        assert f"Usage: imagekit {' '.join(command)}" in said.out


def test_no_arguments_are_no_usage(script: Cli) -> None:
    said = script()
    assert (said.code, said.out) == (2, "")
    assert "Usage: imagekit" in said.err
    said = script("cache")
    assert (said.code, said.out) == (2, "")
    assert "Usage: imagekit cache" in said.err


def test_version(script: Cli) -> None:
    assert script("--version") == (0, f"imagekit {__version__}\n", "")


@pytest.mark.parametrize(
    "shell, words", [("bash", "complete -o"), ("zsh", "#compdef imagekit"), ("fish", "complete ")]
)
def test_completion_scripts(shell: str, words: str, script: Cli) -> None:
    said = script(env={"_IMAGEKIT_COMPLETE": f"source_{shell}"})
    assert said.code == 0
    assert words in said.out


def test_completion(script: Cli) -> None:
    env = {"_IMAGEKIT_COMPLETE": "complete_bash", "COMP_WORDS": "imagekit ", "COMP_CWORD": "1"}
    assert {"build", "plan", "cache"} <= set(script(env=env).out.split())


def test_help_imports_no_more_than_it_needs(script: Cli) -> None:
    said = script("--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in said.err.splitlines()}
    assert "typer" in imported
    heavy = {"pydantic", "rich.progress", "elftools", "parted", "zstandard", "tree_sitter", "imagekit.build"}
    assert not heavy & imported


def at_a_terminal(folder: Path, *arguments: str, **env: str) -> tuple[int, bytes, str]:
    """Run the script with stderr on a terminal; return its exit code, stdout, and what the terminal got."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    with subprocess.Popen(
        [SCRIPT, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=theirs
    ) as child:
        os.close(theirs)
        shown = b""
        while True:
            try:
                got = os.read(ours, 4096)
            except OSError:  # its other end is closed
                break
            if not got:
                break
            shown += got
        out = child.stdout.read() if child.stdout else b""
    os.close(ours)
    return child.returncode, out, shown.decode()


def test_errors_are_red_at_a_terminal(tmp_path: Path) -> None:
    code, out, shown = at_a_terminal(tmp_path, "build", "none.xen")
    assert (code, out) == (2, b"")
    assert "\x1b[31m\x1b[1merror:\x1b[0m " in shown
    _, _, shown = at_a_terminal(tmp_path, "build", "none.xen", NO_COLOR="1")
    assert "error: " in shown
    assert not re.search(r"\x1b\[[0-9;]*m", shown)


def test_progress_at_a_terminal(tmp_path: Path, hello: Path) -> None:
    code, out, shown = at_a_terminal(tmp_path, "build", str(hello))
    assert (code, out) == (0, b"app.xen.raw\n")
    assert "app: disk: " in shown
    assert "\x1b[" in shown
    code, out, shown = at_a_terminal(tmp_path, "build", str(hello), "--progress", "plain")
    assert (code, out) == (0, b"app.xen.raw\n")
    assert "\x1b" not in shown
    assert "app: disk: cached" in shown


def test_no_colours_where_none_are_wanted(tmp_path: Path, hello: Path) -> None:
    code, _, shown = at_a_terminal(tmp_path, "build", str(hello), NO_COLOR="1")
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9](;|m)", shown)


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    with subprocess.Popen(
        [SCRIPT, "schema"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()
