"""Programs that are run to their end, and waited for."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import IO, cast

from imagekit.command.children import GRACE, bound, environment, fate, kill, started
from imagekit.errors import ToolError
from imagekit.programs import require

Feed = Callable[[IO[bytes]], None]
"""Writes a program's standard input, as it is read; what it raises ends the program."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended: its argv, exit status, and what it said."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    def text(self) -> str:
        """Its standard output as text; what is not UTF-8 is escaped."""
        return self.stdout.decode(errors="backslashreplace")

    def complaint(self, limit: int = 2000) -> str:
        """The end of what it said, standard error first, for an error's details."""
        said = (self.stderr.strip() or self.stdout.strip()).decode(errors="backslashreplace")
        return said[-limit:]


def run(
    program: str,
    *arguments: str | os.PathLike[str],
    stdin: bytes | Feed | None = None,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 3600,
    ok: Sequence[int] = (0,),
    silent: bool = False,
) -> Completed:
    """Run a program to its end and return what it said; of a `silent` one, only what it said on stderr.

    `timeout` is in seconds. A status outside `ok`, or time running out, raises ToolError with the end of its
    stderr. The child and its own children are killed when we leave early, for whatever reason.
    """
    argv = (require(program), *(os.fspath(argument) for argument in arguments))
    with started(
        argv, cwd, {**environment(), **(env or {})}, stdout=subprocess.DEVNULL if silent else subprocess.PIPE
    ) as child:
        try:
            stdout, stderr = _spoken(child, stdin, timeout)
        except subprocess.TimeoutExpired:
            raise ToolError(f"{program} did not end within {timeout:g} s", details=" ".join(argv)) from None
    completed = Completed(argv, child.returncode, stdout or b"", stderr)
    if completed.status not in ok:
        raise ToolError(
            f"{program} {fate(completed.status)}",
            details=f"{' '.join(argv)}\n{completed.complaint()}",
        )
    return completed


def _spoken(child: "subprocess.Popen[bytes]", stdin: bytes | Feed | None, timeout: float) -> tuple[bytes, bytes]:
    """Return what a child said, having told it what it reads."""
    if not callable(stdin):
        return child.communicate(stdin, timeout)
    pipe, child.stdin = child.stdin, None
    feeder = _Feeder(child, cast("IO[bytes]", pipe), stdin)
    feeder.start()
    try:
        said = child.communicate(None, timeout)
    except BaseException:
        kill(child)  # so that the feeder sees its pipe break
        raise
    finally:
        feeder.join()
    if feeder.error is not None:
        raise feeder.error
    return said


class _Feeder(threading.Thread):
    """Writes a child's standard input beside the thread that reads what it says."""

    def __init__(self, child: "subprocess.Popen[bytes]", pipe: IO[bytes], feed: Feed) -> None:
        super().__init__(daemon=True)
        self._child, self._pipe, self._feed = child, pipe, feed
        self.error: BaseException | None = None

    def run(self) -> None:
        """Feed until all is said; a child that listens no more tells by its status why."""
        try:
            with self._pipe:
                self._feed(self._pipe)
        except BrokenPipeError:
            return
        except BaseException as error:  # noqa: BLE001 -- raised again by the thread that waits
            self.error = error
            kill(self._child)


def attached(program: str, *arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> int:
    """Run a program with our own terminal, or whatever else our descriptors are, and return its exit status.

    Ctrl-C is for it to act on, not for us. It ends when we are told to, or killed.
    """
    argv = bound("HUP", program, *arguments)
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the child would inherit
    try:
        with subprocess.Popen(argv, env={**environment(), **(env or {})}) as child:
            try:
                return child.wait()
            except BaseException:
                child.terminate()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(GRACE)
                child.kill()
                raise
    finally:
        signal.signal(signal.SIGINT, before)


# How a program is asked for its version, and which line of its answer tells it.
_VERSION = re.compile(r"\d+\.\d+")
_VERSION_OPTIONS: Mapping[str, str] = {
    "mke2fs": "-V",
    "debugfs": "-V",
    "e2fsck": "-V",
    "mkfs.fat": "/nonexistent/",
    "fsck.fat": "/nonexistent/",
}


@cache
def version(program: str) -> str:
    """Return the line in which a program tells its version; asked once a process."""
    done = run(program, _VERSION_OPTIONS.get(program, "--version"), timeout=20, ok=range(256))
    lines = (done.stdout + b"\n" + done.stderr).decode(errors="replace").splitlines()
    return next((line.strip() for line in lines if _VERSION.search(line)), "unknown")
