"""The child that unpacks a tree, runs commands in it and packs it again: PID 1 of its namespaces.

`python -m imagekit.root.inside JOB`; the job is what `imagekit.root.run` wrote. Each command gets namespaces of
its own (mounts, processes, IPC, host name, network) and sees the tree alone: as `/`, with a /proc of its own and a
/dev of six nodes. It may do what root may in a container (Docker's list of capabilities): neither mount nor load
modules, and device nodes that it makes cannot be opened.
"""

import json
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagekit.command import run
from imagekit.errors import BuildError, ImagekitError
from imagekit.programs import require
from imagekit.root.run import COMMAND
from imagekit.root.unpack import unpack
from imagekit.root.write import write_folder
from imagekit.terminal import plain

# $1: the tree; $2: a mount option for it; then what to start in it. After the move the tree is on top of all that
# the host has mounted.
_ENTER = """
set -e
cd "$1"
mount --bind ${2:+-o "$2"} . .
shift 2
cd "$PWD"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t tmpfs -o nosuid,nodev,mode=755,size=64k tmpfs dev
for node in null zero full random urandom tty; do
  : >"dev/$node"
  mount --bind "/dev/$node" "dev/$node"
done
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mkdir -m 1777 dev/shm
umask 022
mount -n --move . /
exec "$@"
"""
# $1: a log; $2: how many bytes it takes; then what to start. The exit status goes to stdout, to stderr the end of
# all that is said.
_KEEP_END = """
log=$1 most=$2
shift 2
{ { "$@" 3>&-; echo $? >&3; } 2>&1 | { head -c "$most" | tee -a "$log"; cat; } 3>&- | tail -c 8000 >&2; } 3>&1
"""
_LOGGED = 16 << 20  # bytes a command: one may talk until its time is over
_CAPABILITIES = (
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service",
    "net_raw", "sys_chroot", "mknod", "audit_write", "setfcap",
)  # fmt: skip
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "DEBIAN_FRONTEND": "noninteractive",
}
_NO_SUCH = {
    126: "it cannot be executed: is the tree of this machine's architecture?",
    127: "the tree has it not",
}
# What programs say that look for a host, or for a way to it.
_UNREACHED = re.compile(
    r"resolv|name resolution|network is unreachable|no route to host|cannot connect|"
    r"(could not|couldn't|failed to|unable to) (connect|fetch|download)|connection (refused|failed|timed out)",
    re.IGNORECASE,
)
_OFFLINE = "it has no network unless network = true"
_LINES = 40
_KILLED = 128 + 9
_PATIENCE = 60  # seconds in which what was killed ends
_ALL_IDS = str((1 << 32) - 1)
_SHOWN = 100  # characters of a command


def main(job: Path) -> int:
    """Do a job; return the exit status. What went wrong is told in `failed.json` beside it."""
    socket.sethostname("localhost")
    told = json.loads(job.read_text())
    folder = Path(told["folder"])
    try:
        nodes = unpack(Path(told["root"]), {name: Path(path) for name, path in told["inputs"].items()}, folder)
        with _mount_points(folder):
            for number, command in enumerate(told["commands"], 1):
                _run(folder, number, command, told["epoch"], told["log"])
        write_folder(folder, Path(told["out"]), told["epoch"], nodes)
    except ImagekitError as error:
        failed = {"brief": error.brief, "details": error.details, "hint": error.hint}
        job.with_name("failed.json").write_text(json.dumps(failed))
        return 1
    finally:
        # Outside of a user namespace, what belongs to its other users can only be removed by root.
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _run(tree: Path, number: int, command: Mapping[str, Any], epoch: int, log: str) -> None:
    argv, network, seconds = command["argv"], command["network"], command["timeout"]
    environment = {**_ENVIRONMENT, "SOURCE_DATE_EPOCH": str(epoch), **command["environment"]}
    kept = ",".join(f"+{name}" for name in _CAPABILITIES)
    which = f"command {number} of root.run"
    print(f"{COMMAND}{plain(_shown(command))}", flush=True)
    begun = time.monotonic()
    with _name_servers(tree, wanted=network):
        done = run(
            "sh", "-c", _KEEP_END, "sh", log, str(_LOGGED),
            require("timeout"), "--foreground", "--signal=KILL", str(seconds),
            require("unshare"), "--mount", "--pid", "--ipc", "--uts", *(() if network else ("--net",)), "--fork",
            "--kill-child", "sh", "-c", _ENTER, "sh", tree, _option(),
            require("env"), "-i", *(f"{name}={value}" for name, value in environment.items()),
            require("setpriv"), f"--bounding-set=-all,{kept}", "--inh-caps=-all",
            require("chroot"), ".", *argv,
            timeout=seconds + _PATIENCE,
        )  # fmt: skip
    status, said = int(done.stdout), done.stderr.decode(errors="backslashreplace").strip()
    details = "\n".join(said.splitlines()[-_LINES:])
    if status == _KILLED and time.monotonic() - begun >= seconds:
        raise BuildError(
            f"{which} did not end within {seconds} s: {_shown(command)}",
            details=details,
            hint="it was ended, with all that it had started; timeout = … gives it longer",
        )
    if status:
        raise BuildError(
            f"{which} failed (exit status {status}): {_shown(command)}",
            details=details,
            hint=_NO_SUCH.get(status, _OFFLINE if not network and _UNREACHED.search(said) else ""),
        )


def _shown(command: Mapping[str, Any]) -> str:
    """Return the first line of a command, with … where it goes on."""
    text: str = command["shown"].strip()
    line = text.partition("\n")[0][:_SHOWN]
    return line if line == text else f"{line}…"


def _option() -> str:
    """Return what keeps nodes in the tree from being opened; in a user namespace nobody can make any."""
    return "nodev" if Path("/proc/self/uid_map").read_text().split() == ["0", "0", _ALL_IDS] else ""


@contextmanager
def _mount_points(tree: Path) -> Iterator[None]:
    """Make the folders that /proc and /dev need for as long as the commands run."""
    made = []
    for name in ("proc", "dev"):
        path = tree / name
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise BuildError(f"/{name} of the tree is no folder", hint="commands cannot run in it")
        if not path.exists():
            path.mkdir(mode=0o755)
            made.append(path)
    yield
    for path in made:
        path.rmdir()


@contextmanager
def _name_servers(tree: Path, *, wanted: bool) -> Iterator[None]:
    """Put the host's resolv.conf into the tree's place for as long as a command may use the network."""
    place = tree / "etc" / "resolv.conf"
    own = place.with_name(".resolv.conf.imagekit")
    if not wanted or place.parent.is_symlink() or not place.parent.is_dir():
        yield
        return
    if os.path.lexists(place):
        place.rename(own)
    place.write_bytes(Path("/etc/resolv.conf").read_bytes())
    place.chmod(0o644)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        if os.path.lexists(own):
            own.rename(place)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
