"""The children that run: each started in a group of its own, known by name to who stops us, and gone with us."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from imagekit.errors import ToolError
from imagekit.programs import require

# Which appliance libguestfs starts, and of which kernel it makes one: the user's to say.
_APPLIANCE = (
    "LIBGUESTFS_CACHEDIR", "LIBGUESTFS_HV", "LIBGUESTFS_MEMSIZE", "LIBGUESTFS_PATH",
    "SUPERMIN_KERNEL", "SUPERMIN_KERNEL_VERSION", "SUPERMIN_MODULES",
)  # fmt: skip

_children: set["subprocess.Popen[bytes]"] = set()
_workers: set["subprocess.Popen[bytes]"] = set()  # end by themselves when told to, and sweep up
_children_lock = threading.RLock()  # a signal may come while its own thread holds it
GRACE = 5.0
"""Seconds that a program has to end by itself."""
_stopping: set[str] = set()  # not an Event: a second signal, while the first one sets it, would wait for ever


def stop_children() -> None:
    """Kill every running child and refuse to start others: called once, by a signal handler."""
    _stopping.add("stopping")
    with _children_lock:
        for child in _children:
            if child.returncode is None:  # else its number may be another's by now
                kill(child)
        for child in _workers:
            if child.returncode is None:
                os.kill(child.pid, signal.SIGTERM)


def environment() -> dict[str, str]:
    """Return the environment that every child gets."""
    keep = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "USER", *_APPLIANCE)
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", "DEBUGFS_PAGER": "__none__"}


def bound(death: str, program: str, *arguments: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the command line of a program that the kernel sends a signal when we die, by whatever.

    Where we have died before it asked for that, it does not begin.
    """
    words = (os.fspath(argument) for argument in arguments)
    ours = ("-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid()))
    return (require("setpriv"), "--pdeathsig", death, require("sh"), *ours, require(program), *words)


@contextmanager
def started(
    argv: Sequence[str],
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str],
    descriptors: Sequence[int] = (),
    *,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a program; it is killed, its own children with it, where the `with` ends by an exception."""
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
        kill(child)
        raise
    finally:
        if any(pipe is not None and not pipe.closed for pipe in (child.stdout, child.stderr)):
            child.communicate()
        child.wait()
        with _children_lock:
            _children.discard(child)


@contextmanager
def started_worker(program: str, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a program that is told to end, and not killed, when we are stopped; who asked waits for its end."""
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
    try:
        yield child
    finally:
        with _children_lock:
            _workers.discard(child)


def kill(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child and all that it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def fate(status: int) -> str:
    """Return in words how a program ended."""
    if status < 0:
        known = {number.value: number.name for number in signal.Signals}
        return f"was killed by {known.get(-status, f'signal {-status}')}"
    return f"failed (exit status {status})"
