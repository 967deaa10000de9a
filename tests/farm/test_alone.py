"""A front whose workers, or whose scheduler, are gone: it says so, and ends."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from threading import Thread
from types import ModuleType

import pytest

from imagekit.build import attempt
from imagekit.errors import ImagekitError, TryAgainError
from imagekit.events import Event, Warned
from imagekit.farm import Dask
from imagekit.runner import Runner
from tests.farm.conftest import Farm
from tests.farm.test_dask import plan, step

pytestmark = pytest.mark.xdist_group("farm")


@pytest.fixture
def small(tmp_path: Path, steps: ModuleType) -> Iterator[Farm]:
    """A scheduler with one worker, to be killed."""
    farm = Farm(tmp_path)
    farm.environment["PYTHONPATH"] = str(Path(steps.__file__ or "").parent)
    try:
        farm.begin()
        farm.worker("one", "--", "--no-nanny")
        farm.pids(1)
        yield farm
    finally:
        farm.end()


@pytest.mark.parametrize("victim", [0, 1], ids=["scheduler", "worker"])
def test_who_is_alone_gives_up(victim: int, small: Farm, steps: ModuleType, tmp_path: Path) -> None:
    runs, told, ended = tmp_path / "runs", list[Event](), list[ImagekitError]()
    runner = Runner(small.store("front"), told.append)
    dask = Dask(small.scheduler, runner.store, runner.tell, alone=2)

    def build() -> None:
        try:
            attempt(plan(tmp_path / "out", step(steps, "slow", runs=str(runs), times=1)), runner, lambda _: dask)
        except ImagekitError as error:
            ended.append(error)

    thread = Thread(target=build)
    thread.start()
    until = time.monotonic() + 30
    while not runs.exists() or not runs.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(small.processes[victim].pid, SIGKILL)
    thread.join(40)
    dask.close()
    (error,) = ended
    assert isinstance(error, TryAgainError)
    assert "is gone" in error.brief
    assert error.hint == "the same command goes on from there"
    assert victim == 0 or [event.message for event in told if isinstance(event, Warned)] == [
        "no worker is left that can run slow-0; waiting 2 s for one"
    ]
