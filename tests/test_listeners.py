"""What a build says: for a log, for a program, for a terminal (a real one, of the kernel's), or nothing."""

import io
import json
import os
import pty
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from imagekit.artifact import Artifact
from imagekit.events import (
    Event,
    ImageFailed,
    Placed,
    StepDone,
    StepPhase,
    StepRetried,
    StepStarted,
    StepWaits,
    Warned,
)
from imagekit.listeners import Kind, aligned, listening, size, table

ARTIFACT = Artifact(
    "app", "xen", Path("app.raw"), (Path("app.raw.cfg"),), "0" * 64, 2 << 20, 1 << 10, 1.25, cached=True
)
EVENTS: tuple[Event, ...] = (
    StepStarted("disk", "app", "never made"),
    StepWaits("disk", "app"),
    Warned("a [bold]warning[/bold]"),
    StepRetried("disk", "app", "its process was killed by SIGKILL"),
    ImageFailed("app", "ebs", "no room", "12 KiB", "", 75),
    StepPhase("disk", "app", "install.d", "/logs/disk.log"),
    StepPhase("other", "app", "unheard of", "/logs/other.log"),
    StepDone("root", "app", cached=True, seconds=0.001),
    StepDone("disk", "app", cached=False, seconds=1.5),
    Placed(ARTIFACT),
)


def said(kind: Kind, *, verbose: bool = False, events: Iterable[Event] = EVENTS) -> str:
    stream = io.StringIO()
    with listening(kind, verbose=verbose, stream=stream) as listener:
        for event in events:
            listener(event)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["plain", "auto"])
def test_for_a_log(kind: str) -> None:
    assert said(cast("Kind", kind)).splitlines() == [
        "app: disk: another build makes the same; waiting for it",
        "warning: a [bold]warning[/bold]",
        "warning: app: disk: its process was killed by SIGKILL; it is run again",
        "failed: app for ebs: no room",
        "app: disk: install.d",
        "app: other: unheard of",
        "app: root: cached",
        "app: disk: made in 1.50 s",
    ]


def test_verbose_tells_why() -> None:
    lines = said("plain", verbose=True).splitlines()
    assert lines[0] == "app: disk: never made"
    assert lines[5] == "app: disk: install.d (log: /logs/disk.log)"


def test_nothing() -> None:
    assert said("none", verbose=True) == ""


def test_for_a_program() -> None:
    lines = [json.loads(line) for line in said("json").splitlines()]
    assert [line["event"] for line in lines] == [
        "step-started",
        "step-waits",
        "warned",
        "step-retried",
        "image-failed",
        "step-phase",
        "step-phase",
        "step-done",
        "step-done",
        "placed",
    ]
    assert lines[0] == {"event": "step-started", "step": "disk", "image": "app", "reason": "never made"}
    assert lines[-1] == {"event": "placed", **ARTIFACT.to_json()}


def test_stderr_is_where_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    with listening("plain", verbose=False) as listener:
        listener(EVENTS[2])
    assert capsys.readouterr() == ("", "warning: a [bold]warning[/bold]\n")


def all_of(terminal: int) -> str:
    """Read a terminal's output to its end, which is an error of its own."""
    data = b""
    with suppress(OSError):
        while more := os.read(terminal, 1 << 16):
            data += more
    os.close(terminal)
    return data.decode()


@pytest.mark.parametrize("events", [EVENTS, EVENTS[:3]], ids=["to the end", "broken off"])
def test_for_a_terminal(events: tuple[Event, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with (
        open(theirs, "w", encoding="utf-8") as stream,
        listening("auto", verbose=False, stream=stream) as listener,
    ):
        for event in events:
            listener(event)
    text = all_of(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "app: disk" in plain
    assert "warning: a [bold]warning[/bold]" in plain
    assert "waiting for it" in plain
    assert ("made in 1.50 s" in plain) == (events is EVENTS)
    assert text.rstrip("\r\n").endswith(("\x1b[?25h", "\x1b[1A\x1b[2K")), "the cursor is given back"


def test_rich_is_for_terminals_only(tmp_path: Path) -> None:
    """It costs 70 ms."""
    from imagekit.command import run  # noqa: PLC0415

    code = "import sys; from imagekit import listeners; sys.exit('rich' in sys.modules)"
    run(sys.executable, "-c", code, cwd=tmp_path)


def test_the_table() -> None:
    assert table([ARTIFACT]).splitlines() == [
        "artifact   size  on disk  digest            seconds",
        "app.raw   2 MiB    1 KiB  0000000000000000     1.25  cached",
    ]


def test_columns() -> None:
    assert aligned([("a", "bb"), ("ccc", "d")]) == "a    bb\nccc  d"
    assert aligned([("a", "bb"), ("ccc", "d")], right=(0, 1)) == "  a  bb\nccc   d"


@pytest.mark.parametrize(
    "number, text",
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2 << 20, "2 MiB"),
        (100 << 30, "100 GiB"),
        (1 << 45, "32768 GiB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text
