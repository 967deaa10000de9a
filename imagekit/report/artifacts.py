"""The artifacts of a run: a table of all, and of each what it was made from, its disk, its proofs, its ids."""

from collections.abc import Iterator

from imagekit.inspect.drawing import legend, scale
from imagekit.inspect.map import merge
from imagekit.inspect.markup import definitions, rows, text
from imagekit.inspect.report import Kind, Segment
from imagekit.inspect.words import listed, shown, size
from imagekit.report.gantt import duration
from imagekit.report.grid import Cell, Column, Row, grid, marks, sifter, words
from imagekit.run import ArtifactRecord, BootRecord, DiskMap, Failure, Publication, Run

SIGNS = {
    "made": ("boots", "✓"),
    "cached": ("soft", "↺"),
    "failed": ("fails", "✕"),
    "skipped": ("unsure", "·"),
    "missing": ("unsure", "○"),
}
"""What became of an artifact: its style, and its sign."""
_MANY = 60
_FEW_RECTANGLES = 40
_MOST_CONSOLE = 20_000  # characters
_SHORT = 12
_COLUMNS = (
    Column("image"),
    Column("target"),
    Column("outcome"),
    Column("size", number=True),
    Column("on disk", number=True),
    Column("seconds", number=True),
    Column("proof"),
    Column("published"),
)


def table(run: Run) -> Iterator[str]:
    """Yield the table of artifacts, and what sifts it."""
    found = run.artifacts
    choices = {
        "outcome": [name for name in SIGNS if any(one.outcome == name for one in found)],
        "target": sorted({one.target for one in found}),
    }
    yield from sifter("artifacts", "artifacts", choices)
    yield from grid("artifacts", "Artifacts", _COLUMNS, (_row(number, one) for number, one in enumerate(found)))


def each(run: Run) -> Iterator[str]:
    """Yield what is known of each artifact, folded up."""
    few = len(run.artifacts) > _MANY
    for number, artifact in enumerate(run.artifacts):
        style, sign = SIGNS[artifact.outcome]
        opened = " open" if len(run.artifacts) == 1 else ""
        amount = f"{artifact.outcome}, {size(artifact.size)}" if artifact.digest else artifact.outcome
        yield (
            f'<details class="item" id="a-{number}"{opened}{marks("artifacts", _row(number, artifact))}>'
            f'<summary><span class="{style}" aria-hidden="true">{sign}</span> '
            f'<strong>{text(artifact.image)}</strong> <span class="target">{text(artifact.target)}</span> '
            f'<span class="amount">{amount}</span></summary>'
        )
        yield from _parts(artifact, few=few)
        yield "</details>"


def problem(what: str, failure: Failure) -> str:
    """Return a failure as HTML."""
    more = f"<pre>{text_lines(failure.details)}</pre>" if failure.details else ""
    hint = f'<p class="hint"><span>hint</span> {text(failure.hint)}</p>' if failure.hint else ""
    return (
        f'<div class="problem"><p><strong>{text(what)}</strong> {text(failure.brief)} '
        f'<span class="amount">exit {failure.code}</span></p>{more}{hint}</div>'
    )


def text_lines(content: str) -> str:
    """Return a text of several lines as HTML for a <pre>."""
    return "\n".join(text(line.rstrip("\r")) for line in content.split("\n"))


def _row(number: int, artifact: ArtifactRecord) -> Row:
    style, sign = SIGNS[artifact.outcome]
    there = bool(artifact.digest)
    found = " ".join(shown(one.result) for one in artifact.publications)
    return Row(
        cells=(
            Cell(f'<a href="#a-{number}">{text(artifact.image)}</a>', artifact.image),
            words(artifact.target),
            Cell(f'<span class="{style}"><span aria-hidden="true">{sign}</span> {artifact.outcome}</span>', style),
            Cell(size(artifact.size) if there else "", float(artifact.size)),
            Cell(size(artifact.on_disk) if there else "", float(artifact.on_disk)),
            Cell(f"{artifact.seconds:.2f}" if there else "", artifact.seconds),
            _proof(artifact),
            Cell(
                "<br>".join(f"<code>{text(one.result or one.state)}</code>" for one in artifact.publications),
                found,
            ),
        ),
        words=f"{artifact.image} {artifact.target} {artifact.path} {artifact.digest} {found}",
        choices={"outcome": artifact.outcome, "target": artifact.target},
    )


def _proof(artifact: ArtifactRecord) -> Cell:
    if not artifact.boots:
        return Cell("", 0.0)
    good = [boot for boot in artifact.boots if boot.booted]
    if len(good) == len(artifact.boots):
        return Cell('<span class="boots"><span aria-hidden="true">✓</span> boots</span>', 2.0)
    return Cell('<span class="fails"><span aria-hidden="true">✕</span> does not boot</span>', 1.0)


def _parts(artifact: ArtifactRecord, *, few: bool) -> Iterator[str]:
    if artifact.failure:
        yield problem("Skipped:" if artifact.outcome == "skipped" else "Failed:", artifact.failure)
    facts = (
        ("file", artifact.path),
        ("beside it", listed(list(artifact.companions))),
        ("digest", artifact.digest),
        ("length", f"{artifact.size:,} bytes, {artifact.on_disk:,} on disk" if artifact.digest else ""),
        ("kernel", artifact.kernel),
    )
    yield definitions((name, value) for name, value in facts if value)
    if artifact.sources:
        yield "<h3>Made from</h3>"
        cells = (
            (
                f'<span class="path">{text(one.path)}</span>',
                f'<code title="{text(one.digest)}">{text(one.digest[:_SHORT])}</code>',
            )
            for one in artifact.sources
        )
        yield rows(("file", "digest"), cells, style="narrow")
    if artifact.disk:
        yield from _disk(artifact.disk, few=few)
    for boot in artifact.boots:
        yield from _boot(boot)
    if artifact.publications:
        yield "<h3>Published</h3>"
        yield rows(
            ("region", "id", "state", "what it made"), map(_published, artifact.publications), style="narrow"
        )


def _disk(disk: DiskMap, *, few: bool) -> Iterator[str]:
    kinds = {kind.value for kind in Kind}
    spans = [
        Segment(span.start, span.length, Kind(span.kind if span.kind in kinds else "other"), span.label)
        for span in disk.spans
    ]
    layout = "no partition table" if disk.table == "none" else disk.table.upper()
    about = text("; ".join((layout, *disk.filesystems)))
    yield f'<h3>The disk <span class="answer">{about}</span></h3>'
    if disk.size > 0 and spans:
        drawn = merge(spans, _FEW_RECTANGLES) if few else spans
        yield f'<figure class="map">{scale(disk.size, drawn, cursor=False)}'
        yield from legend(spans)
        yield "</figure>"


def _boot(boot: BootRecord) -> Iterator[str]:
    style, sign, answer = ("boots", "✓", "boots") if boot.booted else ("fails", "✕", "does not boot")
    yield (
        f'<h3><span class="{style}"><span aria-hidden="true">{sign}</span> {answer}</span> by {text(boot.way)} '
        f'<span class="answer">{text(boot.loader)}, {duration(boot.seconds)}, {text(boot.started)}</span></h3>'
        f"<p>{text(boot.why)}</p>"
    )
    said = boot.console[-_MOST_CONSOLE:]
    if said:
        yield f'<details><summary>Console</summary><pre tabindex="0">{text_lines(said)}</pre></details>'


def _published(one: Publication) -> tuple[str, ...]:
    made = " ".join(f"<code>{text(part.kind)} {text(part.id)}</code>" for part in one.resources)
    state = f"{one.state}, rehearsed" if one.rehearsed else one.state
    return text(one.region), f"<code>{text(one.result)}</code>", text(state), made
