"""A real Dask scheduler and workers, each a process of its own, and a package whose steps they run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from signal import SIGKILL, SIGTERM
from types import ModuleType

import pytest

from imagekit.executor import task
from imagekit.store import Store
from imagekit.store.access import Access
from tests.store.farm import key_files

IMAGEKIT = Path(sys.executable).with_name("imagekit")

STEPS = '''
import os, time
from pathlib import Path
from signal import SIGKILL, SIGTERM
from imagekit import events
from imagekit.errors import KernelError

def who(inputs, out, options):
    events.phase("working")
    out.write_text(f"{os.getpid()} {options['number']}")

def reading(inputs, out, options):
    text = [f"{name} {path.read_text()}" for name, one in sorted(inputs.items())
            for path in ([one.path] if one.path.is_file() else sorted(one.path.rglob("*"))) if path.is_file()]
    out.write_text(f"{os.getpid()} " + " ".join(text))

def slow(inputs, out, options):
    """Say that it runs, and take a while: the first time."""
    runs = Path(options["runs"])
    with runs.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if len(runs.read_text().split()) <= options["times"]:
        time.sleep(60)
    out.write_text(f"{os.getpid()}")

def dying(inputs, out, options):
    with Path(options["runs"]).open("a") as file:
        file.write(f"{os.getpid()}\\n")
    os.kill(os.getpid(), 9)

def refusing(inputs, out, options):
    raise KernelError("it will not boot", details="no note", hint="another kernel")

def faulty(inputs, out, options):
    raise ZeroDivisionError("by zero")
'''


class Farm:
    """A scheduler, and workers with a cache each, around one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        private, public = key_files(folder)
        (folder / "nfs").mkdir()
        self.access = Access(f"file://{folder / 'nfs'}", (str(public),), writer=str(private))
        # Two deaths over one step are enough.
        self.environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        self.scheduler = ""

    def start(self, *argv: str | Path, **more: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"log-{len(self.processes)}").open("wb") as log:
            environment = {**self.environment, **more}
            process = subprocess.Popen([*map(str, argv)], env=environment, stdout=log, stderr=log, process_group=0)
        self.processes.append(process)
        return process

    def begin(self) -> None:
        where = self.folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", where)
        self.start(sys.executable, "-m", "distributed.cli.dask_scheduler", *options)
        until = time.monotonic() + 30
        while not self.scheduler:
            assert time.monotonic() < until
            time.sleep(0.05)
            with suppress(OSError, ValueError):
                self.scheduler = json.loads(where.read_text())["address"]

    def worker(self, name: str, *options: str, store: str = "") -> "subprocess.Popen[bytes]":
        access = self.access
        given = ("--scheduler", self.scheduler, "--store", store or access.url, "--store-key", access.writer or "")
        cache = str(self.folder / name)
        return self.start(IMAGEKIT, "worker", *given, "--threads", "1", *options, IMAGEKIT_CACHE_DIR=cache)

    def store(self, name: str) -> Store:
        return Store(self.folder / name, self.access.open())

    def pids(self, count: int) -> list[int]:
        """Wait for so many workers and return their processes."""
        from distributed import Client  # noqa: PLC0415 -- an extra's

        with Client(self.scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(count, timeout=30)
            return list(client.run(os.getpid).values())

    def end(self) -> None:
        """End the workers, and then the scheduler that they say goodbye to."""
        for some in (self.processes[1:], self.processes[:1]):
            for process in some:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, SIGTERM)
            for process in some:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, SIGKILL)
                    process.wait()


@pytest.fixture(scope="module")  # others must not see the target that it brings
def steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A package with an entry point in the group of the targets, as somebody's own targets have."""
    folder = tmp_path_factory.mktemp("farm-site")
    (folder / "farm_steps.py").write_text(STEPS)
    info = folder / "farm_steps-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: farm-steps\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[imagekit.targets]\nfarmed = farm_steps\n")
    sys.path.insert(0, str(folder))
    task._packages.cache_clear()  # noqa: SLF001 -- what it knows of packages is asked for once a process
    yield import_module("farm_steps")
    sys.path.remove(str(folder))
    task._packages.cache_clear()  # noqa: SLF001


@pytest.fixture(scope="module")  # others must not see the target that it brings
def farm(tmp_path_factory: pytest.TempPathFactory, steps: ModuleType) -> Iterator[Farm]:
    """A scheduler and two workers."""
    pytest.importorskip("distributed")
    made = Farm(tmp_path_factory.mktemp("farm"))
    made.environment["PYTHONPATH"] = str(Path(steps.__file__ or "").parent)
    try:
        made.begin()
        made.worker("one", "--can", "root", "--", "--no-nanny")
        made.worker("two", "--can", "qemu", "--", "--no-nanny")
        made.pids(2)
        yield made
    finally:
        made.end()
