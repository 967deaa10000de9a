"""The program as a user meets it: the installed console script, and the same in this process, which is faster."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from imagekit.cli import app
from imagekit.cli.console import settings

SCRIPT = Path(sys.executable).with_name("imagekit")


class Said(NamedTuple):
    """How a run ended, and what it said."""

    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def script(tmp_path: Path) -> Cli:
    """Return a function that runs the console script in the test's folder: script("build", …, env={…})."""

    def run_it(*arguments: str | Path, env: dict[str, str] | None = None, before: tuple[str, ...] = ()) -> Said:
        argv = [*before, str(SCRIPT), *map(str, arguments)]
        done = subprocess.run(
            argv, cwd=tmp_path, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run_it


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Return a function that runs the program in this process, in the test's folder: cli("build", …)."""
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str | Path) -> Said:
        capsys.readouterr()
        settings.verbosity, settings.events = 0, False
        monkeypatch.setattr(sys, "argv", ["imagekit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            app.run()
        assert isinstance(ended.value.code, int)
        return Said(int(ended.value.code), *capsys.readouterr())

    yield run_it
    for number, handler in handlers:
        signal.signal(number, handler)


@pytest.fixture
def hello(kernels: Path, tmp_path: Path) -> Path:
    """Return app.xen, a PV kernel, in the test's folder; named relatively, as a user would."""
    (tmp_path / "app.xen").write_bytes((kernels / "hello.xen").read_bytes())
    return Path("app.xen")
