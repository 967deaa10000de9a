"""Where the time went: steps as bars on a common axis, a lane for each machine, as SVG."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from imagekit.inspect.markup import text
from imagekit.inspect.words import several
from imagekit.run import Run, StepRecord

_WIDTH = 1000
_ROW = 22
_BAR = 16
_THINNEST = 2.5
_MOST_BARS = 2_500
_TICKS = 4
_COLOURS = 8


def draw(run: Run) -> Iterator[str]:
    """Yield the figure: legend, a lane a machine, the axis, and the line that tells what is pointed at."""
    shown = sorted(run.steps, key=lambda step: -step.seconds)[:_MOST_BARS]
    begun = min([run.begun, *(step.begun for step in shown)])
    seconds = max([run.ended, *(step.begun + step.seconds for step in shown)]) - begun or 1.0
    colours = _colours(run.steps)
    yield '<figure class="gantt">'
    yield from _legend(run.steps, colours)
    for machine in sorted(set(map(host, shown))):
        here = [step for step in shown if host(step) == machine]
        yield _lane(machine, here, begun, seconds, colours)
    marks = (f"<span>{duration(seconds * step / _TICKS)}</span>" for step in range(_TICKS + 1))
    yield f'<div class="ticks" aria-hidden="true">{"".join(marks)}</div>'
    rest = len(run.steps) - len(shown)
    hidden = f" The {several(rest, 'shortest one is', 'shortest ones are')} not drawn." if rest else ""
    yield f'<p class="readout" aria-live="polite">Point at a bar to see which step it is.{hidden}</p></figure>'


def host(step: StepRecord) -> str:
    """Return the machine of a step without the number of the process there."""
    name, _, process = step.machine.rpartition(":")
    return name if name and process.isdigit() else step.machine


def duration(seconds: float) -> str:
    """Return a time for people: 0.3 s, 12 s, 3 min 5 s."""
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.2f} s"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _colours(steps: Iterable[StepRecord]) -> dict[str, str]:
    """Return a class for each kind of step; those that took longest get the colours, the others share the last."""
    sums = _sums(steps)
    ordered = sorted(sums, key=lambda name: (-sums[name], name))
    return {name: f"s-{min(index, _COLOURS - 1)}" for index, name in enumerate(ordered)}


def _sums(steps: Iterable[StepRecord]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for step in steps:
        sums[step.step] = sums.get(step.step, 0.0) + (0.0 if step.cached else step.seconds)
    return sums


def _legend(steps: Sequence[StepRecord], colours: dict[str, str]) -> Iterator[str]:
    sums = _sums(steps)
    yield '<ul class="legend">'
    for name, colour in colours.items():
        amount = duration(sums[name]) if sums[name] else "cached"
        yield (
            f'<li><span class="swatch {colour}" aria-hidden="true"></span>{text(name)} '
            f'<span class="amount">{amount}</span></li>'
        )
    yield "</ul>"


def _lane(machine: str, steps: Sequence[StepRecord], begun: float, seconds: float, colours: dict[str, str]) -> str:
    rows = list(_rows(steps))
    height = _ROW * (max((row for row, _ in rows), default=0) + 1)
    bars = "".join(_bar(step, row, begun, seconds, colours) for row, step in rows)
    work = sum(step.seconds for step in steps if not step.cached)
    told = f"{several(len(steps), 'step')}, {duration(work)} of work"
    return (
        f'<div class="lane"><p class="machine"><strong>{text(machine)}</strong> {told}</p>'
        f'<svg class="bars" viewBox="0 0 {_WIDTH} {height}" height="{height}" preserveAspectRatio="none"'
        f' role="img" aria-label="{text(machine)}: {told}; the table below tells of each">{bars}</svg></div>'
    )


def _rows(steps: Iterable[StepRecord]) -> Iterator[tuple[int, StepRecord]]:
    """Yield each step with the first row that is free when it begins."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    for step in sorted(steps, key=lambda step: (step.begun, -step.seconds)):
        while busy and busy[0][0] <= step.begun:
            heapq.heappush(free, heapq.heappop(busy)[1])
        row = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (step.begun + step.seconds, row))
        yield row, step


def _bar(step: StepRecord, row: int, begun: float, seconds: float, colours: dict[str, str]) -> str:
    left, width = (step.begun - begun) * _WIDTH / seconds, step.seconds * _WIDTH / seconds
    if width < _THINNEST:
        left, width = max(0.0, min(left, _WIDTH - _THINNEST)), _THINNEST
    cached = " cached" if step.cached else ""
    what = f"{step.image}: {step.step}: {'cached' if step.cached else 'made'} in {duration(step.seconds)}"
    title = f"{what}, from {step.begun - begun:.2f} s on"
    return (
        f'<rect class="{colours[step.step]}{cached}" x="{left:.2f}" y="{row * _ROW + 3}" width="{width:.2f}"'
        f' height="{_BAR}" rx="1"><title>{text(title)}</title></rect>'
    )


def began(step: StepRecord, run: Run) -> str:
    """Return when a step began, from the run's start on, as HTML."""
    return escape(f"{step.begun - run.begun:+.2f} s")
