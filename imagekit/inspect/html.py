"""The report as one page of HTML: nothing is fetched, and nothing that an image says is more than text."""

from collections.abc import Iterator

from imagekit.inspect import markup
from imagekit.inspect.drawing import draw
from imagekit.inspect.markup import definitions as _list
from imagekit.inspect.markup import problems as _problems
from imagekit.inspect.markup import rows as _rows
from imagekit.inspect.markup import section as _section
from imagekit.inspect.markup import text as _text
from imagekit.inspect.report import Filesystem, Kernel, Menu, Report, Table, Verdict
from imagekit.inspect.words import listed, several, size

_MOST_FILES = 400
_ANSWERS = {True: ("boots", "boots", "✓"), False: ("fails", "does not boot", "✕"), None: ("unsure", "unsure", "?")}


def render(report: Report) -> str:
    """Return the page."""
    return markup.page(
        f"{report.name} · imagekit inspect", markup.asset("page.css"), markup.asset("page.js"), _body(report)
    )


def _body(report: Report) -> Iterator[str]:
    yield from _header(report)
    yield from _problems(report.problems)
    if report.kind == "disk":
        yield from _section("Who boots it", *map(_verdict, report.verdicts))
        yield from _section("The disk", draw(report.size, report.segments))
    if report.wrapping:
        yield from _section("Wrapped in", _list(report.wrapping))
    for kernel in report.kernels:
        yield from _section(*_kernel(kernel, alone=report.kind == "kernel"))
    for menu in report.menus:
        yield from _section(*_menu(menu))
    if report.table:
        yield from _section(*_table(report.table))
    for filesystem in report.filesystems:
        yield from _section(*_filesystem(filesystem))


def _header(report: Report) -> Iterator[str]:
    what = report.kernels[0].summary if report.kind == "kernel" else "Disk image"
    written = f", {size(report.allocated)} of it written" if report.allocated < report.size else ""
    yield f'<header><p class="kicker">{_text(what)} · {size(report.size)}{written}</p>'
    yield f"<h1>{_text(report.name)}</h1>"
    yield f'<p class="lead">{_text(_gist(report))}</p></header>'


def _gist(report: Report) -> str:
    if report.kind == "kernel":
        ways = [way.title for way in report.kernels[0].ways if way.boots]
        return f"Boots by {listed(ways)}." if ways else "No way of booting it on Xen is known."
    good = [verdict.loader for verdict in report.verdicts if verdict.boots]
    bad = [verdict.loader for verdict in report.verdicts if verdict.boots is False]
    boots = f"Boots under {listed(good)}" if good else "No boot loader is known to boot it"
    return f"{boots}; not under {listed(bad)}." if bad and good else f"{boots}."


def _verdict(verdict: Verdict) -> str:
    style, answer, sign = _ANSWERS[verdict.boots]
    links = (
        f'<li class="link {"" if link.holds else "broken"}"><span class="what">{_WHATS[link.what]}</span> '
        f"{_text(link.text)}{'' if link.holds else _BROKEN}</li>"
        for link in verdict.chain[1:]
    )
    chain = f'<ol class="chain">{"".join(links)}</ol>' if len(verdict.chain) > 1 else ""
    why = "".join(f"<p>{_text(why[:1].upper() + why[1:])}.</p>" for why in verdict.why)
    return (
        f'<article class="verdict {style}"><h3><span class="sign" aria-hidden="true">{sign}</span> '
        f'{_text(verdict.loader)} <span class="answer">{answer}</span></h3>{chain}'
        f'<div class="why">{why}</div></article>'
    )


_BROKEN = ' <span class="said">(the chain breaks here)</span>'
_WHATS = {
    "loader": "loader",
    "disk": "file system",
    "menu": "menu",
    "entry": "entry",
    "kernel": "kernel",
    "start": "entry point",
}


def _kernel(kernel: Kernel, *, alone: bool) -> Iterator[str]:
    yield "The kernel" if alone else f"Kernel <code>{_text(kernel.path)}</code>"
    facts = (("kind", kernel.summary), ("size", f"{kernel.size:,} bytes"), *kernel.facts)
    yield _list(facts)
    yield from _problems([kernel.problem] if kernel.problem else [])
    if kernel.ways:
        rows = (
            (_sign(boots=way.boots), _text(way.title), _text(_because(way.why, way.missing)))
            for way in kernel.ways
        )
        yield _rows(("", "way of booting", "why not"), rows)


def _sign(*, boots: bool) -> str:
    style, answer, sign = _ANSWERS[boots]
    return f'<span class="{style}">{sign}<span class="said"> {answer}</span></span>'


def _because(why: str, missing: str) -> str:
    return f"{why}; missing: {missing}" if missing else why


def _menu(menu: Menu) -> Iterator[str]:
    yield f"Menu <code>{_text(menu.path)}</code>"
    timeout = "none" if menu.timeout is None else f"{menu.timeout} s"
    place = f"partition {menu.partition}" if menu.partition else "whole disk"
    facts = (("place", place), ("default", str(menu.default)), ("timeout", timeout), ("root", menu.root))
    yield _list((name, value) for name, value in facts if value)
    yield from _problems(menu.problems)
    for entry in menu.entries:
        chosen = ' <span class="answer">the default</span>' if entry is menu.chosen else ""
        yield f"<h3>{_text(entry.title or '(no title)')}{chosen}</h3>"
        commands = (("root", entry.root), (entry.command or "kernel", f"{entry.kernel} {entry.arguments}".strip()))
        modules = (("module", module) for module in entry.modules)
        yield _list((name, value) for name, value in (*commands, *modules) if value)


def _table(table: Table) -> Iterator[str]:
    yield "Partitions"
    kinds = {"none": "No partition table: the file system is the disk.", "mbr": "MBR, signature ", "gpt": "GPT "}
    yield f"<p>{kinds[table.kind]}<code>{_text(table.identity)}</code></p>"
    yield from _problems(table.problems)
    if table.partitions:
        rows = (
            (
                str(partition.number),
                size(partition.start),
                size(partition.size),
                _text(partition.type) + (", bootable" if partition.bootable else ""),
                _text(partition.name),
            )
            for partition in table.partitions
        )
        yield _rows(("#", "start", "size", "type", "name"), rows, numbers=3, style="narrow")


def _filesystem(found: Filesystem) -> Iterator[str]:
    yield f"File system, {_text(found.place)}"
    counts = f"{found.blocks:,} of {size(found.block_size)}, {found.free_blocks:,} free" if found.blocks else ""
    inodes = f"{found.inodes:,}, {found.free_inodes:,} free" if found.inodes else ""
    facts = (
        ("kind", found.kind),
        ("size", size(found.size)),
        ("label", found.label),
        ("uuid", found.uuid),
        ("blocks", counts),
        ("inodes", inodes),
        ("features", ", ".join(found.features)),
    )
    yield _list((name, value) for name, value in facts if value)
    yield from _problems(found.problems)
    if found.tree:
        tree = found.tree
        shortened = tree.entries[:_MOST_FILES]
        summary = f"{several(tree.files, 'file')} in {several(tree.directories, 'folder')}, {size(tree.size)}"
        rest = tree.files + tree.directories - len(shortened)
        rows = (
            (
                f'<span class="path {entry.role}">{_text(entry.path)}'
                + (f" → {_text(entry.target)}" if entry.target else "")
                + "</span>",
                f"{entry.size:,}",
                str(entry.pieces),
            )
            for entry in shortened
        )
        opened = " open" if len(shortened) <= 30 else ""  # noqa: PLR2004
        yield f"<details{opened}><summary>{summary}</summary>{_rows(('path', 'bytes', 'pieces'), rows, words=1)}"
        yield f"<p>and {several(rest, 'more entry', 'more entries')}</p></details>" if rest > 0 else "</details>"
