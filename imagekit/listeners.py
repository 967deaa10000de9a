"""What a build says while it works, all of it on stderr: for a terminal, for a log, for a program, or nothing."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TextIO

from imagekit.artifact import Artifact
from imagekit.events import (
    Event,
    ImageFailed,
    Listener,
    StepDone,
    StepPhase,
    StepRetried,
    StepStarted,
    StepWaits,
    Warned,
    silent,
    to_json,
)

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Kind = Literal["auto", "plain", "json", "none"]


@contextmanager
def listening(kind: Kind, *, verbose: bool, stream: TextIO | None = None) -> Iterator[Listener]:
    """Yield the listener that `--progress` asks for; `auto` is rich on a terminal and plain elsewhere."""
    stream = stream or sys.stderr
    if kind == "auto" and stream.isatty():
        with _on_terminal(stream) as listener:
            yield listener
    else:
        listeners: dict[str, Listener] = {"json": _json(stream), "none": silent}
        yield listeners.get(kind, _plain(stream, verbose=verbose))


def table(artifacts: Sequence[Artifact]) -> str:
    """Return the artifacts as an aligned table: path, size, size on disk, digest, seconds, cached or made."""
    rows = [("artifact", "size", "on disk", "digest", "seconds", "")]
    rows += [
        (
            str(artifact.path),
            size(artifact.size),
            size(artifact.on_disk),
            artifact.digest[:16],
            f"{artifact.seconds:.2f}",
            "cached" if artifact.cached else "made",
        )
        for artifact in artifacts
    ]
    return aligned(rows, right=(1, 2, 4))


def aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def size(number: int) -> str:
    """Return a number of bytes for people."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= factor:
            amount = number / factor
            return f"{amount:.0f} {unit}" if amount.is_integer() else f"{amount:.1f} {unit}"
    return f"{number} B"


def _plain(stream: TextIO, *, verbose: bool) -> Listener:
    def listen(event: Event) -> None:
        line = _line(event, verbose=verbose)
        if line is not None:
            print(line, file=stream, flush=True)

    return listen


def _line(event: Event, *, verbose: bool) -> str | None:
    match event:
        case StepStarted(step, image, reason) if verbose:
            return f"{image}: {step}: {reason}"
        case StepDone(step, image, cached, seconds):
            return f"{image}: {step}: {'cached' if cached else f'made in {seconds:.2f} s'}"
        case StepPhase(step, image, phase, log):
            return f"{image}: {step}: {phase}{f' (log: {log})' if verbose else ''}"
        case StepWaits(step, image):
            return f"{image}: {step}: another build makes the same; waiting for it"
    return _word(event)


def _word(event: Event) -> str | None:
    match event:
        case StepRetried(step, image, reason):
            return f"warning: {image}: {step}: {reason}; it is run again"
        case Warned(message):
            return f"warning: {message}"
        case ImageFailed(image, target, brief):
            return f"failed: {image}{f' for {target}' if target else ''}: {brief}"
    return None


def _json(stream: TextIO) -> Listener:
    def listen(event: Event) -> None:
        print(json.dumps(to_json(event)), file=stream, flush=True)

    return listen


@contextmanager
def _on_terminal(stream: TextIO) -> Iterator[Listener]:
    from rich.console import Console  # noqa: PLC0415 -- 70 ms, for terminals only
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        yield _showing(progress)


def _showing(progress: "Progress") -> Callable[[Event], None]:
    tasks: dict[tuple[str, str], TaskID] = {}

    def listen(event: Event) -> None:
        match event:
            case StepStarted(step, image, _):
                tasks[image, step] = progress.add_task(f"{image}: {step}", total=None)
            case StepPhase(step, image, phase, _) if (image, step) in tasks:
                progress.update(tasks[image, step], description=f"{image}: {step}: {phase}")
            case StepDone(step, image, cached, seconds):
                if (image, step) in tasks:
                    progress.remove_task(tasks.pop((image, step)))
                told = "[dim]cached" if cached else f"[green]made[/green] in {seconds:.2f} s"
                progress.console.print(f"{image}: {step}: {told}", highlight=False)
            case StepWaits() | StepRetried() | Warned() | ImageFailed():
                style = "red" if isinstance(event, ImageFailed) else "yellow"
                progress.console.print(_line(event, verbose=False), style=style, highlight=False, markup=False)

    return listen
