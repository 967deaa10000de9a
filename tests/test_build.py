"""Plans run for real: order, overlap, the cache, sources that change, steps that fail, disks that are full."""

import os
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagekit.build import Runner, build
from imagekit.errors import BuildError, RecipeError, TryAgainError, UsageError
from imagekit.events import Event, Placed, StepDone, StepStarted, StepWaits, Warned
from imagekit.executor import SourceInput
from imagekit.plan import Input, Json, Output, Plan, Source, Step
from imagekit.sparse import digest_file
from imagekit.stages import text_step
from imagekit.store import Store

MEETING = threading.Barrier(2)
BEGUN = threading.Event()
GO_ON = threading.Event()


@pytest.fixture(autouse=True)
def fresh_signals() -> None:
    MEETING.reset()
    BEGUN.clear()
    GO_ON.clear()


def joined(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Write the inputs' bytes, and a text."""
    parts = [source.path.read_bytes() for _, source in sorted(inputs.items()) if source.path.is_file()]
    out.write_bytes(b"".join(parts) + str(options.get("text", "")).encode())


def meeting(_inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Wait until another step is here too."""
    MEETING.wait(10)
    out.write_text(str(options))


def slow(_inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    BEGUN.set()
    assert GO_ON.wait(20)
    out.write_text("slow")


def failing(_inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    out.write_text("half")
    raise BuildError("it broke")


def disturbed(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Read a source while somebody writes to it."""
    path = inputs["file"].path
    out.write_bytes(path.read_bytes())
    if options["how"] == "gone":
        path.unlink()
        raise FileNotFoundError(2, "No such file or directory", str(path))
    path.write_text("other bytes")
    if options["how"] == "noticed":
        raise BuildError("the size is another")


def robbed(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Read another step's result while another build finds it damaged; what is open stays so."""
    path = inputs["first"].path
    store = Store(path.parents[1])
    (its_key,) = [its_key for its_key, record in store.records() if record.digest == path.name]
    with path.open("rb") as file:
        if not (out.parents[2] / "robbed").exists():
            (out.parents[2] / "robbed").touch()
            path.chmod(0o644)
            path.write_bytes(b"damage")
            assert store.find(its_key).damaged
        out.write_bytes(file.read() if options["early"] else path.read_bytes())


def plan(main: Step, out: Path, **companions: Step) -> Plan:
    return Plan.of([Output("app", "xen", out, main, {f".{name}": step for name, step in companions.items()})])


def left(store: Store) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def test_a_chain_of_steps(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_text("kernel ")
    first = Step("first", joined, {"kernel": Source(tmp_path / "kernel")}, {"text": "first "})
    second = Step("second", joined, {"a": first}, {"text": "second"})
    events: list[Event] = []
    (artifact,) = build(plan(second, tmp_path / "new" / "out", txt=first), store, events.append)
    assert artifact.path.read_text() == "kernel first second"
    assert artifact.digest == digest_file(artifact.path)
    assert [path.read_text() for path in artifact.companions] == ["kernel first "]
    assert (artifact.size, artifact.cached) == (19, False)
    assert [type(event) for event in events] == [StepStarted, StepDone, StepStarted, StepDone, Placed]
    (again,) = build(plan(second, tmp_path / "new" / "out", txt=first), store)
    assert (again.digest, again.cached) == (artifact.digest, True)
    assert left(store) == []


def test_equal_bytes_leave_later_steps_cached(store: Store, tmp_path: Path) -> None:
    def changed(options: Mapping[str, Json]) -> list[Event]:
        events: list[Event] = []
        first = Step("first", joined, {}, {"text": "same", **options})
        build(plan(Step("second", joined, {"a": first}), tmp_path / "out"), store, events.append)
        return [event for event in events if isinstance(event, StepDone)]

    changed({})
    done = changed({"other": 1})
    assert [(event.step, event.cached) for event in done if isinstance(event, StepDone)] == [
        ("first", False),
        ("second", True),
    ]


def test_companions_are_placed_first_and_the_main_file_last(store: Store, tmp_path: Path) -> None:
    companions = {name: text_step(name, name) for name in ("xml", "cfg", "zzz")}
    (artifact,) = build(plan(text_step("main", "main"), tmp_path / "out", **companions), store)
    paths = (*artifact.companions, artifact.path)
    assert [path.name for path in paths] == ["out.cfg", "out.xml", "out.zzz", "out"]
    times = [path.stat().st_ctime_ns for path in paths]
    assert times == sorted(times)


def test_no_main_file_where_a_companion_cannot_be_placed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out.cfg" / "in-the-way").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"out\.cfg is a folder"):
        build(plan(text_step("main", "main"), tmp_path / "out", cfg=text_step("cfg", "cfg")), store)
    assert not (tmp_path / "out").exists()


def test_a_cached_build_touches_what_is_there(store: Store, tmp_path: Path) -> None:
    the_plan = plan(text_step("main", "main"), tmp_path / "out", cfg=text_step("cfg", "cfg"))
    (artifact,) = build(the_plan, store)
    before = {path: path.stat() for path in (artifact.path, *artifact.companions)}
    for path in before:
        os.utime(path, (1e9, 1e9))
    build(the_plan, store)  # the times were changed: placed anew
    middle = {path: path.stat() for path in before}
    build(the_plan, store)
    for path, status in middle.items():
        after = path.stat()
        assert after.st_ino == status.st_ino
        assert after.st_mtime_ns > status.st_mtime_ns > before[path].st_mtime_ns


@pytest.mark.parametrize("how", ["written", "removed", "replaced", "cut off", "rot"])
def test_what_the_user_changed_is_replaced(store: Store, tmp_path: Path, how: str) -> None:
    out = tmp_path / "out"
    the_plan = plan(text_step("main", "main"), out)
    build(the_plan, store)
    status = out.stat()
    match how:
        case "written":
            out.write_text("mine")
        case "removed":
            out.unlink()
        case "replaced":
            (tmp_path / "mine").write_text("mine")
            (tmp_path / "mine").replace(out)
        case "cut off":
            os.truncate(out, 1)
        case "rot":
            with out.open("r+b") as file:
                file.write(b"M")
            os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
    (artifact,) = build(the_plan, store)
    assert artifact.cached
    assert out.read_text() == "main"


@pytest.mark.parametrize("how", ["silent", "noticed", "gone"])
def test_a_source_that_changes_while_it_is_read(store: Store, tmp_path: Path, how: str) -> None:
    (tmp_path / "file").write_text("bytes")
    step = Step("step", disturbed, {"file": Source(tmp_path / "file")}, {"how": how})
    with pytest.raises(TryAgainError, match="changed while it was read") as caught:
        build(plan(step, tmp_path / "out"), store)
    assert caught.value.exit_code == 75
    assert (list(store.records()), left(store), (tmp_path / "out").exists()) == ([], [], False)


def test_a_source_that_goes_before_it_is_hashed(tmp_path: Path) -> None:
    for path in (tmp_path / "file", tmp_path / "folder" / "file"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("bytes")
    for path in (tmp_path / "file", tmp_path / "folder"):
        source = SourceInput(path)
        assert source.state
        path.rename(tmp_path / "elsewhere")
        with pytest.raises(TryAgainError):
            _ = source.digest
        (tmp_path / "elsewhere").rename(tmp_path / f"{path.name}-gone")


def test_a_source_that_cannot_be_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="none cannot be read"):
        build(plan(Step("step", joined, {"a": Source(tmp_path / "none")}), tmp_path / "out"), store)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(RecipeError, match="socket is neither a file nor a folder"):
            build(plan(Step("step", joined, {"a": Source(tmp_path / "socket")}), tmp_path / "out"), store)


def test_a_failing_step_ends_the_build_and_what_was_made_stays(store: Store, tmp_path: Path) -> None:
    good = Step("good", joined, {}, {"text": "good"})
    bad = Step("bad", failing, {"good": good})
    with pytest.raises(BuildError, match="it broke"):
        build(plan(Step("never", joined, {"bad": bad}), tmp_path / "out"), store)
    assert [record.step for _, record in store.records()] == ["good"]
    assert (left(store), (tmp_path / "out").exists()) == ([], False)


def test_steps_overlap(store: Store, tmp_path: Path) -> None:
    first, second = (Step(name, meeting, {}) for name in ("first", "second"))
    build(plan(Step("both", joined, {"a": first, "b": second}), tmp_path / "out"), store, jobs=2)


def test_one_job_is_one_step_at_a_time(store: Store, tmp_path: Path) -> None:
    steps = {name: Step(name, joined, {}, {"text": name}) for name in "abcd"}
    events: list[Event] = []
    build(plan(Step("all", joined, steps), tmp_path / "out"), store, events.append, jobs=1)
    assert [type(event) for event in events] == [StepStarted, StepDone] * 5 + [Placed]


def test_a_listener_is_never_called_twice_at_once(store: Store, tmp_path: Path) -> None:
    inside = threading.Lock()

    def listener(_: Event) -> None:
        assert inside.acquire(blocking=False)
        time.sleep(0.001)
        inside.release()

    steps = {str(number): Step(str(number), joined, {}) for number in range(40)}
    build(plan(Step("all", joined, steps), tmp_path / "out"), store, listener, jobs=8)


def test_two_builds_at_once_make_each_step_once(store: Store, tmp_path: Path) -> None:
    events: list[Event] = []

    def listener(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepWaits):
            GO_ON.set()

    def one(name: str) -> bool:
        return build(plan(Step("slow", slow, {}), tmp_path / name), store, listener)[0].cached

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one, "first")
        assert BEGUN.wait(20)
        assert pool.submit(one, "second").result() is True
        assert first.result() is False
    assert [type(event) for event in events].count(StepStarted) == 1
    assert StepWaits("slow", "app") in events
    assert (tmp_path / "first").read_text() == (tmp_path / "second").read_text() == "slow"


def test_a_failure_ends_the_wait_for_another_build(store: Store, tmp_path: Path) -> None:
    """What the other build makes is of no use any more."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(build, plan(Step("slow", slow, {}), tmp_path / "first"), store)
        assert BEGUN.wait(20)
        both = {"a": Step("slow", slow, {}), "b": Step("bad", failing, {})}
        try:
            with pytest.raises(BuildError, match="it broke"):
                build(plan(Step("both", joined, both), tmp_path / "second"), store)
        finally:
            GO_ON.set()
        assert first.result()[0].path.read_text() == "slow"


def test_a_damaged_result_is_made_again_and_said(store: Store, tmp_path: Path) -> None:
    the_plan = plan(text_step("main", "main"), tmp_path / "out")
    build(the_plan, store)
    ((_, record),) = store.records()
    blob = store.root / "blobs" / record.digest
    blob.chmod(0o644)
    blob.write_text("rot!")
    events: list[Event] = []
    build(the_plan, store, events.append)
    assert [event for event in events if isinstance(event, Warned | StepStarted)] == [
        Warned("app: main: the cached result was damaged; it is made again"),
        StepStarted("main", "app", "the cached result was damaged"),
    ]
    assert (tmp_path / "out").read_text() == "main"


def test_look_tells_what_would_run_and_why(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_text("kernel")

    def chain() -> Plan:
        first = Step("first", joined, {"kernel": Source(tmp_path / "kernel")})
        other = Step("other", joined, {}, {"text": "other"})
        return plan(Step("second", joined, {"a": first, "b": other}), tmp_path / "out")

    def looked() -> list[tuple[str, bool, str]]:
        with store.in_use():
            return [(step.step, step.cached, step.reason) for step in Runner(store).look(chain())]

    never = "never made with these inputs and settings"
    assert looked() == [
        ("first", False, never),
        ("other", False, never),
        ("second", False, "first and other will be made"),
    ]
    assert not list(store.records())
    build(chain(), store)
    assert looked() == [("first", True, "cached"), ("other", True, "cached"), ("second", True, "cached")]
    (tmp_path / "kernel").write_text("another")
    assert looked() == [
        ("first", False, never),
        ("other", True, "cached"),
        ("second", False, "first will be made"),
    ]


def test_an_image_is_named_for_every_step(store: Store, tmp_path: Path) -> None:
    shared = text_step("shared", "x")
    outputs = [
        Output(name, "xen", tmp_path / name, Step("main", joined, {"a": shared}, {"text": name}), {})
        for name in ("one", "two")
    ]
    events: list[Event] = []
    build(Plan.of(outputs), store, events.append)
    done = {(event.step, event.image) for event in events if isinstance(event, StepDone)}
    assert done == {("shared", "one"), ("main", "one"), ("main", "two")}


@pytest.mark.parametrize("early", [True, False])
def test_a_result_that_another_build_takes_away(store: Store, tmp_path: Path, early: bool) -> None:
    """Nothing is made of damaged bytes, and the next build mends it."""
    first = Step("first", joined, {}, {"text": "first"})
    wanted = plan(Step("second", robbed, {"first": first}, {"early": early}), tmp_path / "out")
    with pytest.raises(TryAgainError, match="found damaged by another build") as caught:
        build(wanted, store)
    assert caught.value.exit_code == 75
    assert not (tmp_path / "out").exists()
    build(wanted, store)
    assert (tmp_path / "out").read_text() == "first"
