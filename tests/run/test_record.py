"""The record of a run: what it gathers, how it is written and read, and what it never holds."""

import json
import os
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.artifact import Artifact
from imagekit.errors import BuildError, ExitCode, UsageError
from imagekit.events import Event, ImageFailed, Placed, StepDone, StepRetried, StepStarted, StepWaits, Warned
from imagekit.proof import Proof
from imagekit.receipt import Receipt
from imagekit.run import (
    MOST_KEPT,
    ArtifactRecord,
    Command,
    Recorder,
    Run,
    SourceFile,
    keep,
    latest,
    read,
    with_later,
    write,
)
from imagekit.run.schema import run_schema
from tests.report.farm import farm

SCHEMA = jsonschema.Draft202012Validator(run_schema())
ARTIFACT = Artifact("app", "xen", Path("app.raw"), (Path("app.raw.cfg"),), "0" * 64, 2, 1, 1.25, cached=True)


def gathered(*events: Event) -> Run:
    recorder = Recorder(Command("build", ("app.xen",), ("all",), ("memory",)))
    recorder.expect("app", "xen", "app.raw", "PV kernel")
    recorder.expect("app", "ebs", "app.ebs", "PV kernel")
    recorder.skip("app", "ami", "no key", ExitCode.USAGE)
    heard: list[Event] = []
    for event in events:
        recorder.beside(heard.append)(event)
    assert heard == list(events)
    return recorder.end(0)


def test_events_become_a_record() -> None:
    run = gathered(
        StepStarted("disk", "app", "never made"),
        StepWaits("disk", "app"),
        StepDone("disk", "app", cached=False, seconds=1.5, machine="builder:7", begun=1000.0),
        StepDone("root", "app", cached=True, seconds=0.1),
        StepRetried("root", "app", "its process was killed by SIGKILL"),
        Warned("odd"),
        ImageFailed("app", "ebs", "no room", "12 KiB", "make room", 75),
        Placed(ARTIFACT),
    )
    disk, root = run.steps
    assert (disk.reason, disk.waited, disk.machine, disk.begun) == ("never made", True, "builder:7", 1000.0)
    assert (root.reason, root.waited, root.cached) == ("", False, True)
    assert run.begun - 1 < root.begun <= run.ended
    xen, ebs, ami = run.artifacts
    assert (xen.outcome, xen.kernel, xen.companions, xen.failure) == (
        "cached",
        "PV kernel",
        ("app.raw.cfg",),
        None,
    )
    assert ebs.outcome == "failed"
    assert ebs.failure
    assert (ebs.failure.hint, ebs.failure.code) == ("make room", 75)
    assert ami.outcome == "skipped"
    assert ami.failure
    assert ami.failure.code == 2
    assert run.warnings == ("odd",)
    assert run.retries == 1
    SCHEMA.validate(json.loads(run.to_bytes()))


def test_an_image_that_fails_fails_for_all_its_targets_that_are_not_there() -> None:
    run = gathered(
        Placed(ARTIFACT), ImageFailed("app", "", "torn", "", "", 3), ImageFailed("b.toml", "", "no", "", "", 2)
    )
    assert [(one.image, one.target, one.outcome) for one in run.artifacts] == [
        ("app", "xen", "cached"),
        ("app", "ebs", "failed"),
        ("app", "ami", "skipped"),
        ("b.toml", "", "failed"),
    ]


def test_what_was_not_reached_is_missing() -> None:
    recorder = Recorder(Command("build", ("app.xen",)))
    recorder.expect("app", "xen", "app.raw", "")
    recorder.made_from("app", "xen", [SourceFile(path="app.xen", digest="0" * 64)])
    run = recorder.end(1, BuildError("torn", details="at 7", hint="mend it"))
    assert run.artifacts[0].outcome == "missing"
    assert run.artifacts[0].sources[0].path == "app.xen"
    assert run.failure
    assert run.failure.model_dump() == {"brief": "torn", "details": "at 7", "hint": "mend it", "code": 1}


def test_proofs_and_receipts_come_later() -> None:
    proof = Proof(
        "app", "xen", "0" * 64, "k", "pygrub", "pygrub 4.17", "lab", {}, {}, booted=True, verdict="said",
        why="it said hello", expected={}, seconds={"lab": 0.5, "guest": 1.5}, memory=1, started="", console="hi",
    )  # fmt: skip
    receipt = Receipt("id", "ebs", "app", "0" * 64, "eu-west-1", details={"password": "hunter2"})
    receipt.resource("snapshot", "snap-1")
    receipt.resource("image", "ami-1").gone = True
    known = ArtifactRecord(image="app", target="xen", outcome="made")
    once = with_later(known, [proof], [receipt])
    receipt.state, receipt.result = "published", "ami-2"
    twice = with_later(once, [proof], [receipt])
    assert [boot.seconds for boot in twice.boots] == [2.0]
    assert [(one.state, one.result) for one in twice.publications] == [("published", "ami-2")]
    assert [made.id for made in twice.publications[0].resources] == ["snap-1"]
    assert "hunter2" not in twice.model_dump_json()


def test_it_is_read_back_as_it_was(tmp_path: Path) -> None:
    path = keep(farm(), tmp_path)
    assert read(path) == farm()
    assert latest(tmp_path) == path
    SCHEMA.validate(json.loads(path.read_bytes()))
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0


def test_the_newest_are_kept(tmp_path: Path) -> None:
    runs = [farm().model_copy(update={"begun": 1e9 + number}) for number in range(MOST_KEPT + 3)]
    small = [run.model_copy(update={"artifacts": (), "steps": ()}) for run in runs]
    for run in reversed(small):
        keep(run, tmp_path)
    kept = [read(path).begun for path in sorted((tmp_path / "runs").iterdir())]
    assert kept == [run.begun for run in small[3:]]
    assert read(latest(tmp_path)).begun == small[-1].begun


def test_a_file_is_written_whole_or_not(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write(path, b"one")
    with pytest.raises(OSError, match="File exists"):
        write(path / "run.json", b"two")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write(tmp_path / "folder", b"two")
    assert sorted(os.listdir(tmp_path)) == ["folder", "run.json"]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "the file"),
        (b"{}", "command"),
        (b'{"schema": "imagekit.run/9"}', "schema"),
        (farm().to_bytes().replace(b'"code": 1', b'"code": "1"', 1), "code"),
        (b"[" * 100_000, "the file"),
        (b"\xff\xfe", "the file"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="no record of a run") as error:
        read(path)
    assert words in error.value.details


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.json")
    with pytest.raises(UsageError, match="no run is recorded yet"):
        latest(tmp_path)


WHOLE = farm().to_bytes()


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=6))
def test_a_torn_record_is_read_or_refused(tmp_path: Path, at: int, bytes_: bytes) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(WHOLE[:at] + bytes_ + WHOLE[at + len(bytes_) :])
    with suppress(UsageError):
        assert isinstance(read(path), Run)
