"""The table of exit codes: one tree, each code explained, and met by a real command."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit import errors
from imagekit.errors import ExitCode, ImagekitError
from imagekit.store import Store

IMAGEKIT = Path(sys.executable).with_name("imagekit")


def below(kind: type[ImagekitError]) -> list[type[ImagekitError]]:
    return [kind, *(one for child in kind.__subclasses__() for one in below(child))]


def imagekit(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **environment}
    return subprocess.run([IMAGEKIT, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60)


def test_every_code_is_explained_and_raised() -> None:
    assert all(code.meaning for code in ExitCode)
    raised = {kind.exit_code for kind in below(ImagekitError)}
    assert raised | {ExitCode.DONE} == set(ExitCode)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    text = errors.__doc__ or ""
    for kind in below(ImagekitError)[1:]:
        if kind.__module__ == errors.__name__:
            (line,) = [line for line in text.splitlines() if f" {kind.__name__} " in line]
            assert f" {kind.exit_code.value} " in line


def test_help_tells_every_code() -> None:
    told = " ".join(imagekit("--help").stdout.split())
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in told


def test_an_error_says_what_was_seen_and_what_to_do() -> None:
    assert str(ImagekitError("wrong", details="seen\n", hint="do this")) == "wrong\nseen\nhint: do this"
    assert str(ImagekitError("wrong")) == "wrong"


Done = subprocess.CompletedProcess[str]


def done(hello: Path) -> Done:
    return imagekit("build", hello, "-o", hello.with_name("out.raw"))


def build_failed(hello: Path) -> Done:
    return imagekit("build", hello, "-o", hello.with_name("out.raw"), "--set", "filesystem.size=1KiB")


def usage(hello: Path) -> Done:
    return imagekit("build", hello, "-o", hello.with_name("out.raw"), "--target", "none")


def cannot_boot(hello: Path) -> Done:
    hello.write_bytes(b"no kernel")
    return done(hello)


def tool(hello: Path) -> Done:
    folder = program(hello, "mke2fs", "exit 1")
    return imagekit("build", hello, "-o", hello.with_name("out.raw"), PATH=f"{folder}:{os.environ['PATH']}")


def verification(hello: Path) -> Done:
    done(hello)
    hello.with_name("out.raw").unlink()
    for blob in hello.with_name("cache").glob("blobs/" + "?" * 64):
        blob.chmod(0o644)
        blob.write_bytes(b"rot")
    return imagekit("cache", "verify")


def try_again(hello: Path) -> Done:
    with Store(hello.with_name("cache")).in_use():
        return imagekit("cache", "prune", "--all")


def interrupted(hello: Path) -> Done:
    return stopped(hello, signal.SIGINT)


def terminated(hello: Path) -> Done:
    return stopped(hello, signal.SIGTERM)


MET: dict[ExitCode, Callable[[Path], Done]] = {
    ExitCode.DONE: done,
    ExitCode.BUILD_FAILED: build_failed,
    ExitCode.USAGE: usage,
    ExitCode.CANNOT_BOOT: cannot_boot,
    ExitCode.TOOL: tool,
    ExitCode.VERIFICATION: verification,
    ExitCode.TRY_AGAIN: try_again,
    ExitCode.INTERRUPTED: interrupted,
    ExitCode.TERMINATED: terminated,
}


def test_every_code_is_met() -> None:
    """Publishing has its own tests, with its own commands."""
    assert set(ExitCode) - set(MET) == {ExitCode.PUBLISH}


@pytest.mark.parametrize("code", MET, ids=lambda code: code.name.lower())
def test_every_code_by_a_command(code: ExitCode, kernels: Path, tmp_path: Path) -> None:
    hello, out = tmp_path / "hello.xen", tmp_path / "out.raw"
    hello.write_bytes((kernels / "hello.xen").read_bytes())
    ended = MET[code](hello)
    assert ended.returncode == code, ended.stderr
    assert out.exists() == (code is ExitCode.DONE)
    assert ended.stderr.count("error: ") == (code is not ExitCode.DONE)
    assert "Traceback" not in ended.stderr
    if code is ExitCode.DONE:
        assert ended.stdout == f"{out}\n"
    elif code is not ExitCode.VERIFICATION:
        assert ended.stdout == ""


def program(beside: Path, name: str, commands: str) -> Path:
    """Write a shell script in the place of a tool that still tells its version; return its folder."""
    script = beside.with_name("bin") / name
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nif [ "$1" = -V ]; then echo {name} 1.0; exit; fi\n{commands}\n')
    script.chmod(0o755)
    return script.parent


def stopped(hello: Path, number: signal.Signals) -> Done:
    """Stop a build in the middle of a tool that takes a minute."""
    pipe = hello.with_name("pipe")
    os.mkfifo(pipe)
    folder = program(hello, "mke2fs", f"echo begun > {pipe}\nexec sleep 60")
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    argv: list[str | Path] = [IMAGEKIT, "build", hello, "-o", hello.with_name("out.raw")]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert pipe.read_text() == "begun\n"
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=20)
    return Done(argv, process.returncode, stdout, stderr)
