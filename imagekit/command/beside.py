"""Programs that run beside us: followed line by line, lent for as long as a `with` lasts, or told what to do."""

import os
import re
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from imagekit.command.children import GRACE, bound, environment, fate, kill, started, started_worker
from imagekit.errors import ToolError


class Running:
    """A program that runs beside us, until the `with` that started it ends."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child

    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self._child.poll() is None

    def peak(self) -> int:
        """The most memory that it took so far, in bytes; 0 when it has ended."""
        try:
            status = Path(f"/proc/{self._child.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def first_line(self, seconds: float) -> str:
        """Return the first line that it says on stdout, "" when it ends or says none for so long."""
        said, until = b"", time.monotonic() + seconds
        stdout = cast("IO[bytes]", self._child.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in said and selector.select(max(0.0, until - time.monotonic())):
                data = os.read(stdout.fileno(), 4096)
                if not data:
                    return ""
                said += data
        line, newline, _ = said.partition(b"\n")
        return line.decode(errors="backslashreplace") if newline else ""

    def complaint(self) -> str:
        """End it, and return what it said on stderr."""
        kill(self._child)
        return self._child.communicate()[1].decode(errors="backslashreplace").strip()[-2000:]


def follow(
    program: str,
    *arguments: str | os.PathLike[str],
    line: Callable[[str], None],
    log: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 3600,
) -> None:
    """Run a program to its end; what it says goes to a file, and line by line to a function while it runs.

    `timeout` is in seconds. ToolError for a status that is not 0, and for time running out. The kernel ends the
    program with us, even if we are killed by a signal that nobody can catch.
    """
    argv = bound("KILL", program, *arguments)
    until = time.monotonic() + timeout
    with (
        log.open("wb") as file,
        started(argv, None, {**environment(), **(env or {})}, stderr=subprocess.STDOUT) as child,
    ):
        cast("IO[bytes]", child.stdin).close()
        child.stdin = None  # nothing to say, then or at the end
        for text in _lines(cast("IO[bytes]", child.stdout), until):
            file.write(text)
            file.flush()
            line(text.decode(errors="backslashreplace"))
        try:
            status = child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ToolError(f"{program} did not end within {timeout:g} s") from None
    if status:
        raise ToolError(f"{program} {fate(status)}")


def _lines(stdout: IO[bytes], until: float) -> Iterator[bytes]:
    """Yield lines until the output ends, or the time is over."""
    left = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, until - time.monotonic())):
            data = os.read(stdout.fileno(), 1 << 16)
            if not data:
                break
            *whole, left = (left + data).split(b"\n")
            yield from (one + b"\n" for one in whole)
    if left:
        yield left


@contextmanager
def running(
    program: str, *arguments: str | os.PathLike[str], descriptors: Sequence[int] = ()
) -> Iterator[Running]:
    """Run a program beside us with these descriptors open; it is killed when the `with` ends, or when we are.

    What it says must be little: nobody reads it before the end.
    """
    # The kernel ends it with us, even if we are killed by a signal that nobody can catch.
    argv = bound("KILL", program, *arguments)
    with started(argv, None, environment(), descriptors) as child:
        try:
            yield Running(child)
        finally:
            kill(child)


class Worker:
    """A program of ours that is told lines and answers in lines; it ends when it is hung up on."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self._stdin, self._stdout = cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)
        self._ending = threading.Lock()
        self.pid = child.pid

    def send(self, line: bytes) -> None:
        """Tell it a line; whether it listens, its answer tells."""
        with suppress(BrokenPipeError, ValueError):  # it has died, or was hung up on
            self._stdin.write(line)
            self._stdin.flush()

    def line(self) -> bytes:
        """Return the next line that it answers, none when it has ended."""
        return self._stdout.readline()

    def hang_up(self) -> None:
        """Have it end; `end` waits for that."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def end(self) -> str:
        """Have it end, if need be by force, and return how it did, in words."""
        self.hang_up()
        with self._ending:
            try:
                self._child.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._child.kill()
            self._child.wait()
            self._stdout.close()
        return fate(self._child.returncode)


@contextmanager
def worker(program: str, *arguments: str) -> Iterator[Worker]:
    """Run a program of ours beside us, in our own environment, until the `with` ends; ToolError if it cannot."""
    with started_worker(program, *arguments) as child:
        one = Worker(child)
        try:
            yield one
        finally:
            one.end()
