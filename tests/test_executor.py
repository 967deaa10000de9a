"""Steps by their data, in threads and in worker processes; workers that die, and that outlive nobody."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import pytest

from imagekit.build import attempt, build
from imagekit.command import run as run_program
from imagekit.errors import BuildError, KernelError, RecipeError, TryAgainError, from_json
from imagekit.events import Event, StepDone, StepPhase, StepRetried, StepStarted
from imagekit.executor import Executor, Outcome, Processes, Task, Threads, machine
from imagekit.plan import Input, Json, Output, Plan, Run, Source, Step
from imagekit.runner import Runner
from imagekit.stages import copy_step, text_step
from imagekit.store import Store
from tests.faults.conftest import gone

# A package of somebody's, which brings targets: its functions are shipped, too.
PLUGIN = '''
import os, sys, time
from pathlib import Path
from imagekit import events
from imagekit.errors import KernelError

def who(inputs, out, options):
    events.phase("working")
    print("words that are no answer")
    out.write_text(f"{os.getpid()} {options['number']}")

def dying(inputs, out, options):
    """Die over the first so many tries."""
    tries = Path(options["tries"])
    with tries.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if len(tries.read_text().split()) <= options["times"]:
        os.kill(os.getpid(), 9)
    out.write_text("done")

def waiting(inputs, out, options):
    Path(options["fifo"]).write_text(f"{os.getpid()}\\n")
    time.sleep(60)

def refusing(inputs, out, options):
    raise KernelError("it will not boot", details="no note", hint="another kernel")

def faulty(inputs, out, options):
    raise ZeroDivisionError("by zero")

def changing(inputs, out, options):
    out.write_bytes(inputs["file"].path.read_bytes())
    inputs["file"].path.write_text("other bytes")
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Install a package with an entry point in the group of the targets."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "farmer.py").write_text(PLUGIN)
    info = folder / "farmer-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: farmer\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[imagekit.targets]\nfarm = farmer\n")
    sys.path.insert(0, str(folder))
    from imagekit.executor import task  # noqa: PLC0415 -- what it knows of packages is asked for once a process

    task._packages.cache_clear()  # noqa: SLF001
    yield import_module("farmer")
    sys.path.remove(str(folder))
    task._packages.cache_clear()  # noqa: SLF001


def step(plugin: object, name: str, number: int = 0, **options: Json) -> Step:
    return Step(f"{name}-{number}", getattr(plugin, name), {}, {"number": number, **options})


def plan(tmp_path: Path, *steps: Step) -> Plan:
    return Plan.of(Output("app", "xen", tmp_path / "out" / one.name, one, {}) for one in steps)


def run(tmp_path: Path, store: Store, jobs: int, *steps: Step) -> list[Event]:
    """Run steps in processes, and return the events."""
    events: list[Event] = []
    runner = Runner(store, events.append)
    attempt(plan(tmp_path, *steps), runner, lambda _: Processes(store, jobs, runner.tell))
    return events


def read(tmp_path: Path, one: Step) -> str:
    return (tmp_path / "out" / one.name).read_text()


def left(store: Store) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def test_steps_run_in_processes_of_their_own(store: Store, tmp_path: Path, plugin: object) -> None:
    steps = [step(plugin, "who", number) for number in range(12)]
    events = run(tmp_path, store, 2, *steps)
    workers = {read(tmp_path, one).split()[0] for one in steps}
    assert 1 <= len(workers) <= 2
    assert str(os.getpid()) not in workers
    assert all(gone(int(pid)) for pid in workers)
    for kind in (StepStarted, StepPhase, StepDone):
        assert sorted(event.step for event in events if isinstance(event, kind)) == sorted(
            one.name for one in steps
        )
    done = [event for event in events if isinstance(event, StepDone)]
    assert {event.machine.rpartition(":")[2] for event in done} == workers
    assert all(event.begun > 1e9 for event in done)


def test_threads_and_processes_make_the_same(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bytes")
    steps = (copy_step("copy", Source(tmp_path / "file")), text_step("text", "words"))
    run(tmp_path, store, 2, *steps)
    keys = dict(store.records())
    other = Store(tmp_path / "other")
    build(plan(tmp_path, *steps), other)
    assert {key: record.digest for key, record in other.records()} == {
        key: record.digest for key, record in keys.items()
    }


def test_a_task_goes_to_json_and_back(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bytes")
    one = copy_step("copy", Source(tmp_path / "file"))
    task = Runner(store).task(one, {}, "app")
    again = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert again == task
    outcome = Outcome("d" * 64, cached=False, begun=1.5, ended=2.5, machine=machine(), warnings=("x",))
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_a_folder_by_another_name(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What travels is the whole path, and what the folder looked like may have been seen by a shorter one."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file").write_text("bytes")
    monkeypatch.chdir(tmp_path)
    step = Step("local", local, {"files-0": Source(Path("site"))})
    with store.in_use():
        runner = Runner(store)
        runner.run(step, {}, "app")
        task = runner.task(step, {}, "app")
        again = Task.from_json(json.loads(json.dumps({**task.to_json(), "run": "imagekit.stages:write_text"})))
        assert again.inputs["files-0"].source == str(tmp_path / "site")
        for source in (again.inputs["files-0"].input(store), task.inputs["files-0"].input(store)):
            source.check()
        (tmp_path / "site" / "file").write_text("other bytes")
        with pytest.raises(TryAgainError):
            again.inputs["files-0"].input(store).check()


def local(_inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    out.write_text(str(os.getpid()))


@pytest.mark.parametrize(
    "name", ["os:system", "imagekit.stages:Path.exists", "imagekit.stages:MIB", "imagekit.none:f"]
)
def test_a_function_of_others_is_refused(store: Store, name: str) -> None:
    content = {**Runner(store).task(text_step("text", "x"), {}, "app").to_json(), "run": name}
    with pytest.raises((BuildError, ImportError)):
        Task.from_json(content)


def test_what_cannot_travel_runs_here(store: Store, tmp_path: Path) -> None:
    one = Step("local", local, {})
    run(tmp_path, store, 2, one)
    assert read(tmp_path, one) == str(os.getpid())


def test_an_error_comes_back_as_it_was(store: Store, tmp_path: Path, plugin: object) -> None:
    with pytest.raises(KernelError) as caught:
        run(tmp_path, store, 2, step(plugin, "refusing"))
    error = caught.value
    assert (error.brief, error.details, error.hint) == ("it will not boot", "no note", "another kernel")
    with pytest.raises(BuildError, match="a step has a fault: ZeroDivisionError: by zero"):
        run(tmp_path, store, 2, step(plugin, "faulty"))
    assert left(store) == []


def test_errors_of_classes_that_are_not_known_here() -> None:
    content = {**RecipeError("b", details="d", hint="h").to_json(), "error": "StrangeError"}
    assert type(from_json(content)) is BuildError


def test_a_source_that_changes_while_a_worker_reads_it(store: Store, tmp_path: Path, plugin: object) -> None:
    (tmp_path / "file").write_text("bytes")
    function: Run = getattr(plugin, "changing")  # noqa: B009
    with pytest.raises(TryAgainError, match="changed while it was read"):
        run(tmp_path, store, 2, Step("changing", function, {"file": Source(tmp_path / "file")}))
    assert list(store.records()) == []


def test_a_worker_that_dies_has_its_step_run_again(store: Store, tmp_path: Path, plugin: object) -> None:
    one = step(plugin, "dying", tries=str(tmp_path / "tries"), times=1)
    others = [step(plugin, "who", number) for number in range(6)]
    events = run(tmp_path, store, 2, one, *others)
    assert read(tmp_path, one) == "done"
    assert len(set((tmp_path / "tries").read_text().split())) == 2
    (warning,) = [event for event in events if isinstance(event, StepRetried)]
    assert warning == StepRetried("dying-0", "app", "its process was killed by SIGKILL")
    with store.in_use():  # sweeps up after the dead
        assert left(store) == []


def test_a_step_that_kills_every_worker(store: Store, tmp_path: Path, plugin: object) -> None:
    one = step(plugin, "dying", tries=str(tmp_path / "tries"), times=9)
    with pytest.raises(BuildError, match="its process was killed by SIGKILL, 2 times") as caught:
        run(tmp_path, store, 2, one)
    assert "memory" in caught.value.hint
    assert len((tmp_path / "tries").read_text().split()) == 2


@pytest.mark.parametrize("kind", [Threads, Processes])
def test_an_executor_that_is_stopped_takes_no_more(store: Store, kind: type[Threads | Processes]) -> None:
    with kind(store, 2, lambda _: None) as pool:
        executor: Executor = pool
        assert executor.capacity == 2
        executor.stop()
        with pytest.raises(RuntimeError):
            executor.submit(Runner(store).task(text_step("text", "x"), {}, "app"))


FRONT = """
import json, sys
from pathlib import Path
sys.path[:] = json.loads(sys.argv[1])
import farmer
from imagekit.executor import Processes
from imagekit.plan import Step
from imagekit.runner import Runner
from imagekit.store import Store
store = Store(Path(sys.argv[2]))
with store.in_use(), Processes(store, 2, print) as pool:
    step = Step("waiting", farmer.waiting, {}, {"fifo": sys.argv[3]})
    pool.submit(Runner(store).task(step, {}, "app")).result()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("plugin")
def test_no_worker_outlives_who_started_it(store: Store, tmp_path: Path, number: signal.Signals) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    arguments = [sys.executable, "-c", FRONT, json.dumps(sys.path), str(store.root), str(fifo)]
    front = os.posix_spawn(sys.executable, arguments, os.environ)
    worker = int(fifo.read_text())
    os.kill(front, number)
    assert gone(worker)
    os.waitpid(front, 0)
    assert left(store) == []


GIVING_UP = """
import json, os, sys
from pathlib import Path
sys.path[:] = json.loads(sys.argv[1])
import farmer
from imagekit.build import Terms, attempt, executor
from imagekit.plan import Output, Plan, Step
from imagekit.runner import Runner
from imagekit.stages import text_step
from imagekit.store import Store
runner, out = Runner(Store(Path(sys.argv[2]))), Path(sys.argv[4])
steps = [text_step("text", "x"), Step("waiting", farmer.waiting, {}, {"fifo": sys.argv[3]})]
plan = Plan.of(Output(step.name, "xen", out / step.name, step, {}) for step in steps)
read = lambda: os.path.exists(sys.argv[3]) and Path(sys.argv[3]).stat().st_size > 0
built = attempt(plan, runner, executor(runner, 2, "processes"), Terms(draining=read, grace=0.5))
print(json.dumps([[one.image for one in built.artifacts], [one.image for one in built.missing]]))
"""


@pytest.mark.usefixtures("plugin")
def test_what_outlasts_the_grace_is_given_up(store: Store, tmp_path: Path) -> None:
    """A step would go on for a minute after the signal; the run ends, and what is whole is placed."""
    begun = time.monotonic()
    arguments = ("-c", GIVING_UP, json.dumps(sys.path), store.root, tmp_path / "pid", tmp_path / "out")
    done = run_program(sys.executable, *arguments)
    assert json.loads(done.text()) == [["text"], ["waiting"]]
    assert gone(int((tmp_path / "pid").read_text()))
    assert time.monotonic() - begun < 30
    assert left(store) == []
