"""libguestfs' appliance: a real Linux kernel in a small machine of QEMU's, which guestfish gives its commands.

By guestfish alone: Debian's Python binding is only for Debian's own Python (decision 16). Its start takes most of
the time, so callers say all that they want in one launch.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from imagekit.accelerator import against_kvm
from imagekit.command import Completed, Feed, run
from imagekit.errors import ToolError

_READY = "launched"
_HINT = "libguestfs-test-tool tells why; it needs a kernel in /boot that you can read"


def fish(
    disk: Path,
    commands: Sequence[Sequence[str]],
    *,
    folder: Path,
    write: bool = False,
    feed: Feed | None = None,
    timeout: float = 3600,
) -> Completed:
    """Launch the appliance with one raw disk, run guestfish's commands, and return what they said.

    A command that fails ends the session with a status that is not 0. `folder` is for libguestfs' scratch files;
    `feed` writes what a command reads from "-". `timeout` is in seconds. ToolError when it does not start.
    """
    words = [word for command in commands for word in (":", *command)]
    with swept():
        done = run(
            "guestfish", *options(disk, write=write), "--", "run", ":", "echo", _READY, *words,
            stdin=feed, cwd=folder, env=environment(folder), timeout=timeout, ok=range(256),
        )  # fmt: skip
    ready, _, said = done.stdout.partition(b"\n")
    if ready != _READY.encode():
        raise ToolError("libguestfs could not start its machine", details=done.complaint(), hint=_HINT)
    return Completed(done.argv, done.status, said, done.stderr)


def options(disk: Path, *, write: bool) -> tuple[str, ...]:
    """Return guestfish's options for a raw disk.

    The format is said, not guessed: a hostile image could otherwise be a qcow2 that names a file of the host.
    """
    return (*(() if write else ("--ro",)), "--format=raw", "-a", str(disk.absolute()))


def environment(folder: Path) -> dict[str, str]:
    """Return what libguestfs needs set; `folder` is for its scratch files.

    The appliance itself, which libguestfs builds once, stays where libguestfs keeps it for all.
    """
    emulated = {"LIBGUESTFS_BACKEND_SETTINGS": "force_tcg"} if _without_kvm() else {}
    # libguestfs' own guess is that a /dev/kvm which can be opened works.
    return {"LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_TMPDIR": str(folder.absolute()), **emulated}


@cache
def _without_kvm() -> bool:
    return bool(against_kvm())


@contextmanager
def swept() -> Iterator[None]:
    """Remove the sockets of appliances that were killed: libguestfs has no other place for them."""
    _sweep()
    try:
        yield
    except BaseException:
        _sweep()
        raise


def _sweep() -> None:
    try:
        bound = Path("/proc/net/unix").read_bytes()
        for folder in Path("/tmp").glob("libguestfs??????"):  # noqa: S108 -- libguestfs' choice
            if folder.stat().st_uid == os.getuid() and is_dead(folder, bound):
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return


def is_dead(folder: Path, bound: bytes) -> bool:
    """Tell whether there are sockets in a folder, and none is in /proc/net/unix, `bound`."""
    sockets = [path for path in folder.iterdir() if path.is_socket()]
    return bool(sockets) and not any(os.fsencode(path) + b"\n" in bound for path in sockets)
