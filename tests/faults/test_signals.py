"""Ctrl-C and SIGTERM: the exit status, the children, the left-overs, the words."""

import json
import os
import signal
import time

import pytest
from filelock import FileLock

from tests.faults.conftest import Bench, Process, ended, gone

BOTH = pytest.mark.parametrize(
    "number, status, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)


def event(process: Process, kind: str, step: str) -> None:
    """Read a build's progress until an event comes."""
    assert process.stderr is not None
    for line in process.stderr:
        content = json.loads(line)
        if (content["event"], content.get("step")) == (kind, step):
            return
    pytest.fail(f"no {kind} of {step}")


@BOTH
@pytest.mark.parametrize("tool", ["mke2fs", "debugfs"])
def test_in_the_middle_of_a_tool(bench: Bench, tool: str, number: signal.Signals, status: int, word: str) -> None:
    environment = bench.stopping(tool, "before")
    process = bench.build(env=environment)
    child = bench.reached(environment)
    assert os.getpgid(child) != process.pid, "a terminal's Ctrl-C goes to us alone"
    os.killpg(process.pid, number)
    assert ended(process) == (status, "", f"error: {word}")
    assert gone(child)
    assert (bench.files(), bench.left()) == ({}, [])
    assert ended(bench.build())[0] == 0


@BOTH
def test_while_another_build_makes_the_same(bench: Bench, number: signal.Signals, status: int, word: str) -> None:
    environment = bench.stopping("mke2fs", "before")
    first = bench.build(env=environment)
    bench.reached(environment)
    second = bench.build(out=bench.out / "second.raw")
    event(second, "step-waits", "disk")
    begun = time.monotonic()
    second.send_signal(number)
    assert ended(second) == (status, "", f"error: {word}")
    assert time.monotonic() - begun < 5
    assert first.poll() is None, "the other build goes on"
    bench.go(environment)
    assert ended(first)[0] == 0
    assert bench.left() == []
    assert not (bench.out / "second.raw").exists()


@BOTH
def test_while_waiting_in_prepare(bench: Bench, number: signal.Signals, status: int, word: str) -> None:
    """The kernel's facts are the one step that is made before there is a plan: on the main thread."""
    assert ended(bench.build())[0] == 0
    (key,) = [
        path.name
        for path in (bench.store / "results").iterdir()
        if json.loads(path.read_bytes())["step"] == "kernel"
    ]
    (bench.store / "results" / key).unlink()
    with FileLock(bench.store / "locks" / key):
        process = bench.build()
        time.sleep(1)
        process.send_signal(number)
        assert ended(process) == (status, "", f"error: {word}")


@pytest.mark.parametrize("part", [0, 2])
@BOTH
def test_at_any_time_of_a_build(bench: Bench, part: int, number: signal.Signals, status: int, word: str) -> None:
    for delay in (part, part + 4, part + 8):
        process = bench.build("--layout", "gpt")
        event(process, "step-started", "disk")
        time.sleep(delay * 0.002)
        process.send_signal(number)
        code, stdout, words = ended(process)
        if code:
            assert (code, stdout, words) == (status, "", f"error: {word}")
        assert bench.left() == []
        assert list(bench.out.glob(".*")) == []
        bench.clear()


def test_twice(bench: Bench) -> None:
    """The second comes while the first is being obeyed."""
    environment = bench.stopping("mke2fs", "before")
    process = bench.build(env=environment)
    child = bench.reached(environment)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    code, stdout, words = ended(process)
    assert code in {130, 143, -signal.SIGINT, -signal.SIGTERM}
    assert stdout == ""
    assert words in {"error: interrupted", "error: terminated", ""}
    assert gone(child)
