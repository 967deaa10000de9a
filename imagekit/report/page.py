"""The page: what became of the run, its artifacts, where the time went, what was published."""

import time
from collections.abc import Iterator

from imagekit.errors import ExitCode
from imagekit.inspect import markup
from imagekit.inspect.markup import section, text
from imagekit.inspect.words import listed, several, size
from imagekit.report import artifacts, gantt
from imagekit.report.gantt import duration
from imagekit.report.grid import Cell, Column, Row, grid, sifter, words
from imagekit.run import Run, StepRecord

_MOST_STEPS = 3_000


def render(run: Run) -> str:
    """Return the page."""
    style = markup.asset("page.css") + markup.asset("report.css", __package__ or "")
    script = markup.asset("report.js", __package__ or "")
    return markup.page(f"{_gist(run)} · imagekit report", style, script, _body(run))


def _body(run: Run) -> Iterator[str]:
    yield from _header(run)
    failed = [artifact for artifact in run.artifacts if artifact.outcome == "failed" and artifact.failure]
    if run.failure and not any(artifact.failure == run.failure for artifact in failed):
        yield artifacts.problem("The run failed:", run.failure)
    for artifact in failed:
        if artifact.failure:
            yield artifacts.problem(f"{artifact.image} for {artifact.target}:", artifact.failure)
    if run.artifacts:
        yield from section("Artifacts", *artifacts.table(run))
    if run.steps:
        yield from section("Where the time went", *gantt.draw(run), *_steps(run))
    if any(artifact.publications for artifact in run.artifacts):
        yield from section("Published", *_published(run))
    if run.artifacts:
        yield from section("Each artifact", *artifacts.each(run))
    if run.warnings:
        yield from section("Warnings", *(f"<p>{text(one)}</p>" for one in run.warnings))


def _header(run: Run) -> Iterator[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.begun))
    yield f'<header><p class="kicker">imagekit {text(run.command)} · {when} · {text(run.machine)}</p>'
    yield f"<h1>{text(_gist(run))}</h1>"
    yield f'<p class="lead">{_lead(run)}</p>'
    yield f'<dl class="figures">{"".join(_figure(*one) for one in _figures(run))}</dl></header>'


def _gist(run: Run) -> str:
    """Return what became of the run, in a line."""
    counts = {name: sum(one.outcome == name for one in run.artifacts) for name in artifacts.SIGNS}
    told = [f"{count:,} {name}" for name, count in counts.items() if count]
    if told:
        return listed(told)
    return "Nothing made" if run.code else "Nothing to make"


def _lead(run: Run) -> str:
    targets = f" for {text(listed(list(run.targets)))}" if run.targets else ""
    settings = f", with {text(listed(list(run.settings)))} set" if run.settings else ""
    names = list(run.inputs[:_MOST_NAMED])
    rest = len(run.inputs) - len(names)
    inputs = listed([*names, several(rest, "more", "more")] if rest else names)
    meanings = {code.value: code.meaning for code in ExitCode}
    return f"Of {text(inputs)}{targets}{settings}. Exit {run.code}: {meanings.get(run.code, 'unknown')}."


_MOST_NAMED = 4


def _figures(run: Run) -> Iterator[tuple[str, str, str]]:
    """Yield what, how much, and a word more."""
    cached = sum(step.cached for step in run.steps)
    work = sum(step.seconds for step in run.steps if not step.cached)
    machines = len(set(map(gantt.host, run.steps)))
    length = sum(artifact.size for artifact in run.artifacts)
    on_disk = sum(artifact.on_disk for artifact in run.artifacts)
    yield "time", duration(run.ended - run.begun), f"{duration(work)} of work"
    if run.steps:
        yield "steps", f"{len(run.steps):,}", f"on {several(machines, 'machine')}"
        yield "from the cache", f"{100 * cached // len(run.steps)} %", several(cached, "step")
    if length:
        yield "on disk", size(on_disk), f"of {size(length)}"
    boots = [boot for artifact in run.artifacts for boot in artifact.boots]
    if boots:
        yield "proven", f"{sum(boot.booted for boot in boots)} of {len(boots)}", several(len(boots), "boot")
    published = [one for artifact in run.artifacts for one in artifact.publications if one.state == "published"]
    if published:
        yield "published", f"{len(published):,}", several(len({one.region for one in published}), "region")


def _figure(name: str, value: str, more: str) -> str:
    return f"<div><dt>{name}</dt><dd>{text(value)}<span>{text(more)}</span></dd></div>"


def _steps(run: Run) -> Iterator[str]:
    shown = sorted(run.steps, key=lambda step: -step.seconds)[:_MOST_STEPS]
    rest = len(run.steps) - len(shown)
    yield f"<details><summary>All steps, the longest first: {len(run.steps):,}</summary>"
    choices = {
        "outcome": [
            name for name in ("made", "cached") if any(step.cached == (name == "cached") for step in shown)
        ],
        "step": sorted({step.step for step in shown}),
        "machine": sorted(set(map(gantt.host, shown))),
    }
    yield from sifter("steps", "steps", choices)
    columns = (
        Column("step"),
        Column("image"),
        Column("outcome"),
        Column("seconds", number=True),
        Column("began", number=True),
        Column("machine"),
        Column("why"),
    )
    yield from grid("steps", "Steps", columns, (_step(step, run) for step in shown))
    yield f"<p>and {several(rest, 'shorter one')}</p></details>" if rest > 0 else "</details>"


def _step(step: StepRecord, run: Run) -> Row:
    outcome = "cached" if step.cached else "made"
    style, sign = artifacts.SIGNS[outcome]
    why = f"waited for another build; {step.reason}".strip("; ") if step.waited else step.reason
    return Row(
        cells=(
            words(step.step),
            words(step.image),
            Cell(f'<span class="{style}"><span aria-hidden="true">{sign}</span> {outcome}</span>', outcome),
            Cell(f"{step.seconds:.3f}", step.seconds),
            Cell(gantt.began(step, run), step.begun),
            words(step.machine),
            words(why),
        ),
        words=f"{step.step} {step.image} {step.machine} {why}",
        choices={"outcome": outcome, "step": step.step, "machine": gantt.host(step)},
    )


def _published(run: Run) -> Iterator[str]:
    found = [(number, artifact) for number, artifact in enumerate(run.artifacts) if artifact.publications]
    regions = sorted({one.region for _, artifact in found for one in artifact.publications})
    states = sorted({one.state for _, artifact in found for one in artifact.publications})
    yield from sifter("published", "what was published", {"region": regions, "state": states})
    columns = (Column("region"), Column("image"), Column("target"), Column("id"), Column("state"))
    rows = [
        Row(
            cells=(
                words(one.region),
                Cell(f'<a href="#a-{number}">{text(artifact.image)}</a>', artifact.image),
                words(artifact.target),
                Cell(f"<code>{text(one.result)}</code>", one.result),
                words(f"{one.state}, rehearsed" if one.rehearsed else one.state),
            ),
            words=f"{one.region} {artifact.image} {artifact.target} {one.result}",
            choices={"region": one.region, "state": one.state},
        )
        for number, artifact in found
        for one in artifact.publications
    ]
    yield from grid(
        "published", "What was published", columns, sorted(rows, key=lambda row: str(row.cells[0].key))
    )
