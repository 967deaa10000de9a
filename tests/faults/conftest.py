"""What the fault tests share: the real program in its own process group, and tools that stop where we want."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from signal import SIGKILL

import pytest

from imagekit.errors import ImagekitError

IMAGEKIT = Path(sys.executable).with_name("imagekit")
SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
NOTHING: Mapping[str, str] = {}
Process = subprocess.Popen[str]

STOPPING = """#!/bin/sh
if [ "$1" = -V ]; then exec {real} -V; fi
if [ {when} = after ]; then {real} "$@" || exit; fi
echo $$ > {folder}/reached
read go < {folder}/go
if [ {when} = before ]; then exec {real} "$@"; fi
"""


@dataclass
class Bench:
    """A kernel, a cache and a place for artifacts, below one folder."""

    folder: Path
    kernel: Path
    started: list[Process] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """Where artifacts go."""
        return self.folder / "out"

    @property
    def store(self) -> Path:
        """Where the cache lies."""
        return self.folder / "store"

    def start(self, *arguments: str | Path, env: Mapping[str, str] = NOTHING) -> Process:
        """Start imagekit in a process group of its own."""
        process = subprocess.Popen(
            [IMAGEKIT, *arguments],
            env={**os.environ, "IMAGEKIT_CACHE_DIR": str(self.store), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.started.append(process)
        return process

    def build(self, *more: str, out: Path | None = None, env: Mapping[str, str] = NOTHING) -> Process:
        """Start a build of the kernel."""
        where = out or self.out / "app.raw"
        return self.start("build", self.kernel, "-o", where, "--progress", "json", *more, env=env)

    def stopping(self, tool: str, when: str) -> dict[str, str]:
        """Return an environment in which a tool stops before, or after, its work, until `go`."""
        folder = self.folder / f"stopping-{tool}-{when}"
        folder.mkdir()
        for name in ("reached", "go"):
            os.mkfifo(folder / name)
        script = folder / tool
        script.write_text(STOPPING.format(real=shutil.which(tool, path=SBIN), when=when, folder=folder))
        script.chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    def reached(self, environment: dict[str, str]) -> int:
        """Wait until the tool has stopped; return its process."""
        pid = int((Path(environment["PATH"].partition(":")[0]) / "reached").read_text())
        self.stopped.append(pid)
        return pid

    def go(self, environment: dict[str, str]) -> None:
        """Let a stopped tool go on."""
        (Path(environment["PATH"].partition(":")[0]) / "go").write_text("go\n")

    def files(self) -> dict[str, bytes]:
        """Return what lies under the final names."""
        visible = [path for path in self.out.glob("*") if not path.name.startswith(".")]
        return {path.name: path.read_bytes() for path in visible}

    def left(self) -> list[str]:
        """Return what is left in the store, but for what a kill leaves in the blink before it has a lock."""
        return [path.name for path in (self.store / "tmp").glob("*") if not path.name.startswith("new-")]

    def clear(self) -> None:
        """Forget everything that was made."""
        for folder in (self.out, self.store):
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """End what still runs."""
        for pid in self.stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        for process in self.started:
            process.kill()
            process.communicate()


def gone(pid: int, seconds: float = 5) -> bool:
    """Tell whether a process ends soon."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}:
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def ended(process: Process, seconds: float = 30) -> tuple[int, str, str]:
    """Wait for a process; return its exit status, stdout, and what it said on stderr that is no progress."""
    stdout, stderr = process.communicate(timeout=seconds)
    words = map(_words, stderr.splitlines())
    return process.returncode, stdout, "\n".join(chain.from_iterable(words))


def _words(line: str) -> list[str]:
    """Return a line, or the error that an event tells of, in the words that are said without --progress json."""
    if not line.startswith('{"event": '):
        return [line]
    told = json.loads(line)
    if told["event"] != "run-failed":
        return []
    return [f"error: {ImagekitError(told['brief'], details=told['details'], hint=told['hint'])}"]


@pytest.fixture
def bench(kernels: Path, tmp_path: Path) -> Iterator[Bench]:
    """Return a place for real builds; whatever still runs at the end is killed."""
    made = Bench(tmp_path, tmp_path / "app.xen")
    shutil.copy(kernels / "hello.xen", made.kernel)
    yield made
    made.close()
