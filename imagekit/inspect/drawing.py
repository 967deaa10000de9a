"""The map of a disk as HTML: an SVG to scale, and below it the written parts, each large enough to point at."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from imagekit.inspect.map import NAMES, merge
from imagekit.inspect.report import Kind, Segment
from imagekit.inspect.words import shown, size

_WIDTH = 1000
_THINNEST = 1.5
_MOST_RECTANGLES = 800
_MOST_CELLS = 240
_EMPTY = {Kind.FREE, Kind.HOLE, Kind.GAP}
_LOUD = {Kind.KERNEL, Kind.BOOT}
_TICKS = 4
# Told one by one; of all other kinds, neighbours make one part.
_SINGLE = {Kind.KERNEL, Kind.BOOT, Kind.FILE, Kind.DIRECTORY}
_NOTE = (
    '<p class="note" id="parts-note">The same parts in the same order, all large enough to point at. '
    "Arrow keys walk through them.</p>"
)


def draw(total: int, segments: Sequence[Segment]) -> str:
    """Return the figure: scale, parts, legend, and the line that tells what is pointed at."""
    return "\n".join(
        (
            '<figure class="map" aria-labelledby="map-title">',
            scale(total, segments),
            _ticks(total),
            _NOTE,
            '<ol class="parts" aria-describedby="parts-note">',
            *_cells(segments),
            "</ol>",
            '<p class="readout" id="readout" aria-live="polite">Point at a part to see what it is.</p>',
            *legend(segments),
            "</figure>",
        )
    )


def scale(total: int, segments: Sequence[Segment], *, cursor: bool = True) -> str:
    """Return the disk to scale, with the mark of what is pointed at where there is one map on a page.

    Kernels and boot files are drawn last, or a broad neighbour would cover them.
    """
    few = merge(segments, _MOST_RECTANGLES)
    ordered = sorted(few, key=lambda segment: (segment.kind in _LOUD, segment.kind not in _EMPTY))
    drawn = "\n".join(_rectangle(total, segment) for segment in ordered)
    mark = f'<rect id="cursor" class="cursor" y="0" height="56" width="0" data-total="{total}"/>' if cursor else ""
    return (
        f'<svg class="scale" viewBox="0 0 {_WIDTH} 56" preserveAspectRatio="none" role="img"'
        f' aria-label="The disk to scale, {escape(size(total))}">{drawn}{mark}</svg>'
    )


def _rectangle(total: int, segment: Segment) -> str:
    left, width = segment.start * _WIDTH / total, segment.length * _WIDTH / total
    if segment.kind not in _EMPTY and width < _THINNEST:
        left, width = min(left, _WIDTH - _THINNEST), _THINNEST
    return (
        f'<rect class="k-{segment.kind}" x="{left:.2f}" y="4" width="{width:.2f}" height="48">'
        f"<title>{tell(segment)}</title></rect>"
    )


def _ticks(total: int) -> str:
    marks = "".join(f"<span>{escape(size(total * step // _TICKS))}</span>" for step in range(_TICKS + 1))
    return f'<div class="ticks" aria-hidden="true">{marks}</div>'


def _cells(segments: Sequence[Segment]) -> Iterator[str]:
    for index, segment in enumerate(merge(_grouped(segments), _MOST_CELLS)):
        text = tell(segment)
        if segment.kind in _EMPTY:
            label, weight = "", 0.4
        else:
            label, weight = escape(_short(segment)), math.log2(max(segment.length, 512)) - 8
        yield (
            f'<li class="part k-{segment.kind}" style="flex-grow:{weight:.1f}" tabindex="{0 if not index else -1}"'
            f' title="{text}" data-start="{segment.start}" data-length="{segment.length}">'
            f'<span class="name">{label}</span><span class="said">{text}</span></li>'
        )


def _grouped(segments: Sequence[Segment]) -> list[Segment]:
    found: list[Segment] = []
    for segment in segments:
        last = found[-1] if found else None
        if last and last.kind is segment.kind and segment.kind not in _SINGLE:
            label = last.label if last.label == segment.label else NAMES[segment.kind]
            found[-1] = Segment(last.start, last.length + segment.length, segment.kind, label)
        else:
            found.append(segment)
    return found


def _short(segment: Segment) -> str:
    if segment.kind in {Kind.KERNEL, Kind.BOOT, Kind.FILE}:
        return shown(segment.label).rsplit("/", 1)[-1]
    return shown(segment.label) if segment.kind in {Kind.DIRECTORY, Kind.OTHER} else NAMES[segment.kind]


def tell(segment: Segment) -> str:
    """Return what a segment is, as HTML text."""
    label = shown(segment.label) or NAMES[segment.kind]
    what = label if NAMES[segment.kind] in label else f"{label}, {NAMES[segment.kind]}"
    return escape(f"{what}: {size(segment.length)} at byte {segment.start:,}")


def legend(segments: Sequence[Segment]) -> Iterator[str]:
    """Yield the kinds that are there, each with its colour and its bytes."""
    sums: dict[Kind, int] = {}
    for segment in segments:
        sums[segment.kind] = sums.get(segment.kind, 0) + segment.length
    yield '<ul class="legend">'
    for kind, name in NAMES.items():
        if kind in sums:
            yield (
                f'<li><span class="swatch k-{kind}" aria-hidden="true"></span>{escape(name)} '
                f'<span class="amount">{escape(size(sums[kind]))}</span></li>'
            )
    yield "</ul>"
