"""The one door to other programs: run without a shell, timed, ended with us, and their failures told.

Every child gets a fixed environment (C locale, UTC): its output and its bytes do not depend on who builds.
"""

import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, cast

from imagekit.errors import ToolError
from imagekit.programs import require

# Which appliance libguestfs starts, and of which kernel it makes one: the user's to say.
_APPLIANCE = (
    "LIBGUESTFS_CACHEDIR", "LIBGUESTFS_HV", "LIBGUESTFS_MEMSIZE", "LIBGUESTFS_PATH",
    "SUPERMIN_KERNEL", "SUPERMIN_KERNEL_VERSION", "SUPERMIN_MODULES",
)  # fmt: skip

Feed = Callable[[IO[bytes]], None]
"""Writes a program's standard input, as it is read; what it raises ends the program."""

_children: set["subprocess.Popen[bytes]"] = set()
_workers: set["subprocess.Popen[bytes]"] = set()  # end by themselves when told to, and sweep up
_children_lock = threading.RLock()  # a signal may come while its own thread holds it
_GRACE = 5.0  # seconds
_stopping: set[str] = set()  # not an Event: a second signal, while the first one sets it, would wait for ever


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
    with _started(
        argv, cwd, {**_environment(), **(env or {})}, stdout=subprocess.DEVNULL if silent else subprocess.PIPE
    ) as child:
        try:
            stdout, stderr = _spoken(child, stdin, timeout)
        except subprocess.TimeoutExpired:
            raise ToolError(f"{program} did not end within {timeout:g} s", details=" ".join(argv)) from None
    completed = Completed(argv, child.returncode, stdout or b"", stderr)
    if completed.status not in ok:
        raise ToolError(
            f"{program} {_fate(completed.status)}",
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
        _kill(child)  # so that the feeder sees its pipe break
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
            _kill(self._child)


def attached(program: str, *arguments: str | os.PathLike[str], env: Mapping[str, str] | None = None) -> int:
    """Run a program with our own terminal, or whatever else our descriptors are, and return its exit status.

    Ctrl-C is for it to act on, not for us. It ends when we are told to, or killed.
    """
    argv = (require("setpriv"), "--pdeathsig", "HUP", require(program), *(os.fspath(one) for one in arguments))
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the child would inherit
    try:
        with subprocess.Popen(argv, env={**_environment(), **(env or {})}) as child:
            try:
                return child.wait()
            except BaseException:
                child.terminate()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_GRACE)
                child.kill()
                raise
    finally:
        signal.signal(signal.SIGINT, before)


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
        _kill(self._child)
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
    words = (os.fspath(argument) for argument in arguments)
    argv = (require("setpriv"), "--pdeathsig", "KILL", require(program), *words)
    until = time.monotonic() + timeout
    with (
        log.open("wb") as file,
        _started(argv, None, {**_environment(), **(env or {})}, stderr=subprocess.STDOUT) as child,
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
        raise ToolError(f"{program} {_fate(status)}")


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
    words = (os.fspath(argument) for argument in arguments)
    argv = (require("setpriv"), "--pdeathsig", "KILL", require(program), *words)
    with _started(argv, None, _environment(), descriptors) as child:
        try:
            yield Running(child)
        finally:
            _kill(child)


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
                self._child.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._child.kill()
            self._child.wait()
            self._stdout.close()
        return _fate(self._child.returncode)


@contextmanager
def worker(program: str, *arguments: str) -> Iterator[Worker]:
    """Run a program of ours beside us, in our own environment, until the `with` ends; ToolError if it cannot."""
    with _children_lock:
        if _stopping:
            raise ToolError(f"{program} was not started: imagekit is stopping")
        try:
            child = subprocess.Popen(
                (program, *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
            )
        except OSError as error:
            raise ToolError(f"{program} could not be started", details=str(error)) from error
        _workers.add(child)
    one = Worker(child)
    try:
        yield one
    finally:
        one.end()
        with _children_lock:
            _workers.discard(child)


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


def stop_children() -> None:
    """Kill every running child and refuse to start others: called once, by a signal handler."""
    _stopping.add("stopping")
    with _children_lock:
        for child in _children:
            if child.returncode is None:  # else its number may be another's by now
                _kill(child)
        for child in _workers:
            if child.returncode is None:
                os.kill(child.pid, signal.SIGTERM)


def _environment() -> dict[str, str]:
    keep = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "USER", *_APPLIANCE)
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", "DEBUGFS_PAGER": "__none__"}


@contextmanager
def _started(
    argv: Sequence[str],
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str],
    descriptors: Sequence[int] = (),
    *,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Iterator["subprocess.Popen[bytes]"]:
    with _children_lock:
        if _stopping:
            raise ToolError(f"{argv[0]} was not started: imagekit is stopping")
        try:
            # A group of its own, so that a Ctrl-C reaches us first and we end it, children and all.
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=env,
                process_group=0,
                pass_fds=descriptors,
            )
        except OSError as error:
            raise ToolError(f"{argv[0]} could not be started", details=str(error)) from error
        _children.add(child)
    try:
        yield child
    except BaseException:
        # Whether it ended or not: its own children may not have.
        _kill(child)
        raise
    finally:
        if any(pipe is not None and not pipe.closed for pipe in (child.stdout, child.stderr)):
            child.communicate()
        child.wait()
        with _children_lock:
            _children.discard(child)


def _kill(child: "subprocess.Popen[bytes]") -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _fate(status: int) -> str:
    if status < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"was killed by {known.get(-status, f'signal {-status}')}"
    return f"failed (exit status {status})"
