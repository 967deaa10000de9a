"""The run step: the user's commands in the tree, and the tree as they leave it, as a root tar again.

All of it happens in a child, `imagekit.root.inside`, which dies with us: as root, or as root of a user namespace.
"""

import json
import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from imagekit import events
from imagekit.command import follow
from imagekit.errors import BuildError, ToolError
from imagekit.plan import Input, Json
from imagekit.programs import find

RANGES = (Path("/etc/subuid"), Path("/etc/subgid"))
TOOLS = ("unshare", "mount", "setpriv", "chroot")
COMMAND = "root.run: "
"""The child's line for a command that begins starts so."""

_COMPLAINT = 2000  # characters


def write_run(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Unpack the root tar `files-whole`, run the commands in it, and write it as it is then. A step function.

    Inputs: also the folders and tars that it refers to. Options: `commands`, a list of {argv, network, timeout
    (seconds), environment}; `epoch`: no time is later. Each command is a phase, and what it says goes to the
    step's log. BuildError for a command that fails or hangs.
    """
    check_able()
    job, said, log = out.with_name("job.json"), out.with_name("said"), events.log()
    log.write_bytes(b"")
    told = {
        "root": os.fspath(inputs["files-whole"].path),
        "inputs": {name: os.fspath(source.path) for name, source in inputs.items()},
        "folder": os.fspath(out.with_name("inside")),
        "out": os.fspath(out),
        "log": os.fspath(log),
        "commands": options["commands"],
        "epoch": options["epoch"],
    }
    job.write_text(json.dumps(told))
    try:
        follow(
            "unshare", *_user(), "--mount", "--pid", "--uts", "--fork",
            "--kill-child", "--mount-proc", sys.executable, "-P", "-m", "imagekit.root.inside", job,
            line=_phase, log=said,
            timeout=_longest(options), env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    except ToolError as error:
        _refuse(out.with_name("failed.json"), said, log, error)


def _phase(line: str) -> None:
    if line.startswith(COMMAND):
        events.phase(line.removeprefix(COMMAND).rstrip())


def check_able() -> None:
    """ToolError where this user can neither be root nor have a range of user ids of a tree's own."""
    if missing := lacking():
        raise ToolError(
            "commands in a tree (root.run) need root here, or user ids of their own",
            details="\n".join(missing),
            hint="or run imagekit as root",
        )


def lacking() -> list[str]:
    """Return what an ordinary user lacks for a tree's user ids, each with what brings it; nothing as root."""
    if not os.geteuid():
        return []
    missing = [] if find("newuidmap") else ["newuidmap is not installed: sudo apt-get install uidmap"]
    for file in RANGES:
        if not has_range(file):
            option = f"--add-{file.stem}s"
            missing.append(f"{file} has no line for you: sudo usermod {option} 100000-165535 {_names()[0]}")
    return missing


def has_range(file: Path) -> bool:
    """Tell whether subuid(5) or subgid(5) gives this user, by name or number, any ids."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.split(":")[0] in _names() and line.count(":") == 2 for line in lines)  # noqa: PLR2004


def _names() -> tuple[str, ...]:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name, str(uid)
    except KeyError:
        return (str(uid),)


def _user() -> tuple[str, ...]:
    return () if not os.geteuid() else ("--user", "--map-auto", "--map-root-user")


def _longest(options: Mapping[str, Json]) -> float:
    """Return how many seconds all may take: unpacking and packing have an hour."""
    commands = options["commands"]
    assert isinstance(commands, list)  # noqa: S101 -- for the type checker
    return 3600 + sum(float(command["timeout"]) for command in commands)


def _refuse(told: Path, said: Path, log: Path, error: ToolError) -> NoReturn:
    """Raise the error that the child wrote down; without one, what ended it."""
    if not told.exists():
        complaint = said.read_text(errors="backslashreplace").strip()[-_COMPLAINT:]
        raise ToolError("the tree's commands could not be run", details=complaint or error.brief) from error
    failed = json.loads(told.read_text())
    details = "\n".join(filter(None, (failed["details"], f"the whole log: {log}")))
    raise BuildError(failed["brief"], details=details, hint=failed["hint"]) from error
