"""Builds by a real scheduler and its workers: who runs what, where bytes go, who dies."""

import os
import time
from pathlib import Path
from signal import SIGKILL
from threading import Thread
from types import ModuleType

import pytest

from imagekit.build import attempt, executor
from imagekit.errors import BuildError, KernelError, ToolError, UsageError
from imagekit.events import Event, StepDone, StepPhase, StepStarted
from imagekit.farm import Dask
from imagekit.plan import Json, Output, Plan, Source, Step
from imagekit.prepare import Request, prepare
from imagekit.runner import Runner
from imagekit.sparse import digest_file
from imagekit.store import Store
from tests.farm.conftest import Farm

pytestmark = pytest.mark.xdist_group("farm")


def step(steps: ModuleType, name: str, number: int = 0, needs: tuple[str, ...] = (), **options: Json) -> Step:
    settings = {"number": number, **options}
    return Step(f"{name}-{number}", getattr(steps, name), {}, settings, needs=needs)


def plan(folder: Path, *steps: Step) -> Plan:
    return Plan.of(Output("app", "xen", folder / one.name, one, {}) for one in steps)


def run(farm: Farm, store: Store, folder: Path, *steps: Step, arrival: float = 10) -> list[Event]:
    events: list[Event] = []
    runner = Runner(store, events.append)
    dask = Dask(farm.scheduler, store, runner.tell, arrival=arrival)
    try:
        attempt(plan(folder, *steps), runner, lambda _: dask)
    finally:
        dask.close()
    return events


def machines(events: list[Event]) -> set[str]:
    return {event.machine.rpartition(":")[2] for event in events if isinstance(event, StepDone)}


def test_steps_run_on_workers_and_results_come_by_the_store(farm: Farm, steps: ModuleType, tmp_path: Path) -> None:
    store = farm.store("front")
    some = [step(steps, "who", number) for number in range(20)]
    events = run(farm, store, tmp_path, *some)
    workers = {str(pid) for pid in farm.pids(2)}
    assert machines(events) == workers, "both worked"
    assert {(tmp_path / one.name).read_text().split()[0] for one in some} == workers
    for kind in (StepStarted, StepPhase):
        assert {event.step for event in events if isinstance(event, kind)} == {one.name for one in some}
    again = run(farm, farm.store("fresh"), tmp_path / "again", *some)
    assert all(event.cached for event in again if isinstance(event, StepDone))
    assert not [event for event in again if isinstance(event, StepStarted)]


def test_sources_that_workers_cannot_see_are_sent(farm: Farm, steps: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "private" / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").write_text("of a folder")
    (folder / "link").symlink_to("below/file")
    os.link(folder / "below" / "file", folder / "twin")
    file = tmp_path / "private" / "file"
    file.write_text("of a file")
    first = Step("first", steps.reading, {"file": Source(file)})
    second = Step("second", steps.reading, {"first": first, "tree": Source(folder)})
    run(farm, farm.store("front"), tmp_path / "out", second)
    pid, *words = (tmp_path / "out" / "second").read_text().split(" ", 1)
    assert pid in {str(one) for one in farm.pids(2)}
    assert "file of a file" in words[0]
    assert words[0].count("of a folder") == 3


def test_a_kept_tree_stays_where_it_is(farm: Farm, steps: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("kept")
    kept = Step("kept", steps.reading, {"tree": Source(tmp_path / "tree", kept=True)})
    run(farm, farm.store("front"), tmp_path / "out", kept)
    assert (tmp_path / "out" / "kept").read_text() == f"{os.getpid()} tree kept"


def test_steps_go_where_they_can_run(farm: Farm, steps: ModuleType, tmp_path: Path) -> None:
    farm.pids(2)
    some = [step(steps, "who", number, ("root",)) for number in range(100, 106)]
    others = [step(steps, "who", number, ("qemu",)) for number in range(106, 112)]
    assert len(machines(run(farm, farm.store("front"), tmp_path, *some))) == 1
    assert len(machines(run(farm, farm.store("front"), tmp_path, *others))) == 1
    nobody = step(steps, "who", 200, ("root", "os"))
    with pytest.raises(ToolError, match="no worker can root, os") as caught:
        run(farm, farm.store("front"), tmp_path, nobody, arrival=0.5)
    assert caught.value.details == "workers: 2; they can: qemu, root"


def test_what_a_plan_needs_beforehand_is_made_there_too(farm: Farm, steps: ModuleType) -> None:
    """As the operating systems of diskimage-builder, in which a kernel has to be found first."""
    store = farm.store("front-4")
    runner = Runner(store)
    runner.elsewhere = dask = Dask(farm.scheduler, store, runner.tell)
    with store.in_use():
        made, cached = runner.run(step(steps, "who", 300, ("root",)), {}, "app")
        here, _ = runner.run(step(steps, "who", 301), {}, "app")
    dask.close()
    assert (made.path.read_text() == f"{os.getpid()} 300", cached) == (False, False)
    assert here.path.read_text() == f"{os.getpid()} 301"


def test_errors_of_steps_are_those_of_a_build_at_home(farm: Farm, steps: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="it will not boot") as caught:
        run(farm, farm.store("front"), tmp_path, step(steps, "refusing"))
    assert (caught.value.details, caught.value.hint) == ("no note", "another kernel")
    with pytest.raises(BuildError, match="ZeroDivisionError: by zero"):
        run(farm, farm.store("front"), tmp_path, step(steps, "faulty"))


def test_an_image_by_workers_has_the_same_bytes(farm: Farm, kernels: Path, tmp_path: Path) -> None:
    def built(store: Store, name: str, scheduler: str = "") -> list[str]:
        runner = Runner(store)
        request = Request((kernels / "hello.xen",), ("xen", "ebs"), f"{tmp_path / name}/")
        with store.in_use():
            prepared = prepare(request, runner, {})
        runner.elsewhere = dask = Dask(scheduler, store, runner.tell) if scheduler else None
        artifacts = attempt(prepared.plan, runner, executor(runner, 2)).artifacts
        if dask is not None:
            dask.close()
        return [digest_file(artifact.path) for artifact in artifacts]

    there = built(farm.store("front-2"), "there", farm.scheduler)
    assert there == built(Store(tmp_path / "alone"), "here")


def test_two_fronts_ask_for_one_step_and_it_runs_once(farm: Farm, steps: ModuleType, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    one = step(steps, "slow", 1, runs=str(runs), times=0)
    threads = [Thread(target=run, args=(farm, farm.store(f"front-{n}"), tmp_path / str(n), one)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(runs.read_text().split()) == 1
    assert (tmp_path / "0" / one.name).read_text() == (tmp_path / "1" / one.name).read_text()


def test_a_worker_that_dies_has_its_step_run_elsewhere(farm: Farm, steps: ModuleType, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    victim = step(steps, "slow", 2, runs=str(runs), times=1)
    found: list[list[Event]] = []
    thread = Thread(target=lambda: found.append(run(farm, farm.store("front-3"), tmp_path / "out", victim)))
    thread.start()
    until = time.monotonic() + 30
    while not runs.exists() or not runs.read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    first = int(runs.read_text())
    os.kill(first, SIGKILL)
    thread.join(60)
    (events,) = found
    tried = runs.read_text().split()
    assert len(tried) == 2
    assert (tmp_path / "out" / victim.name).read_text() == tried[1] != str(first)
    assert machines(events) == {tried[1]}
    farm.worker("three", "--can", "root,qemu", "--", "--no-nanny")
    assert first not in farm.pids(2)


def test_a_step_that_kills_its_workers_is_given_up(farm: Farm, steps: ModuleType, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    farm.worker("four", "--", "--no-nanny")
    farm.pids(3)
    with pytest.raises(BuildError, match="workers died over it"):
        run(farm, farm.store("front"), tmp_path, step(steps, "dying", runs=str(runs)))
    assert len(set(runs.read_text().split())) == 2


def test_what_a_farm_cannot_do_without(farm: Farm, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="need a shared store"):
        Dask(farm.scheduler, Store(tmp_path / "plain"), print)
    with pytest.raises(UsageError, match="no scheduler's address"):
        Dask("nowhere", farm.store("front"), print)
    with pytest.raises(ToolError, match="no Dask scheduler answers"):
        Dask("tcp://127.0.0.1:9", farm.store("front"), print, connect=0.5)
