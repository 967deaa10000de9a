"""The report as plain text, aligned; nothing that an image says can move the cursor or colour the terminal."""

from collections.abc import Iterator, Sequence

from imagekit.inspect.map import NAMES
from imagekit.inspect.report import Filesystem, Kernel, Kind, Menu, Report, Segment, Table, Verdict
from imagekit.inspect.words import several, shown, size

_MOST_FILES = 40
_BAR = 72
_SIGNS = {
    Kind.TABLE: "T",
    Kind.SUPERBLOCK: "S",
    Kind.DESCRIPTORS: "G",
    Kind.BITMAP: "m",
    Kind.INODES: "i",
    Kind.JOURNAL: "j",
    Kind.DIRECTORY: "d",
    Kind.KERNEL: "K",
    Kind.BOOT: "B",
    Kind.FILE: "f",
    Kind.OTHER: "o",
    Kind.FREE: ".",
    Kind.GAP: "-",
    Kind.HOLE: " ",
}
_ANSWERS = {True: "boots", False: "no", None: "unsure"}
# What must not drown in a column of the bar, first of all.
_BOLD = (Kind.KERNEL, Kind.BOOT, Kind.TABLE)


def render(report: Report) -> str:
    """Return the report as lines, the last one ended."""
    lines = [headline(report), *(f"problem: {shown(problem)}" for problem in report.problems)]
    if report.wrapping:
        lines += _section("Wrapped in", *_columns(*((name, shown(value)) for name, value in report.wrapping)))
    if report.table:
        lines += _section(*_table(report.table))
    for filesystem in report.filesystems:
        lines += _section(*_filesystem(filesystem))
    for menu in report.menus:
        lines += _section(*_menu(menu))
    for kernel in report.kernels:
        lines += _section(*_kernel(kernel))
    if report.kind == "disk":
        lines += _section("Boot loaders", *_verdicts(report.verdicts))
        lines += _section("Map", *_map(report.size, report.segments))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def headline(report: Report) -> str:
    """Return what the file is, in one line."""
    what = report.kernels[0].summary if report.kind == "kernel" else "disk image"
    taken = "" if report.allocated >= report.size else f", of which {size(report.allocated)} are written"
    return f"{shown(report.name)}: {what}, {size(report.size)}{taken}"


def _section(title: str, *lines: str) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)]


def _table(table: Table) -> Iterator[str]:
    titles = {
        "none": "No partition table",
        "mbr": f"MBR, signature {table.identity}",
        "gpt": f"GPT {table.identity}",
    }
    yield titles[table.kind]
    if table.partitions:
        yield from _columns(
            ("#", "start", "size", "type", "name", ""),
            *(
                (
                    str(partition.number),
                    size(partition.start),
                    size(partition.size),
                    partition.type,
                    shown(partition.name),
                    "bootable" if partition.bootable else "",
                )
                for partition in table.partitions
            ),
        )
    yield from _problems(table.problems)


def _filesystem(found: Filesystem) -> Iterator[str]:
    yield f"{found.place.capitalize()}: {found.kind}, {size(found.size)}"
    if found.blocks:
        free = size(found.free_blocks * found.block_size)
        yield f"{several(found.blocks, 'block')} of {size(found.block_size)}, {free} free"
    for name, value in (("label", found.label), ("uuid", found.uuid), ("features", " ".join(found.features))):
        if value:
            yield f"{name} {shown(value)}"
    tree = found.tree
    if tree:
        folders = several(tree.directories, "folder")
        yield f"{several(tree.files, 'file')} in {folders}, {size(tree.size)}" + (
            "" if tree.complete else " and more"
        )
        files = [entry for entry in tree.entries if entry.kind != "directory"]
        files.sort(key=lambda entry: (not entry.role, entry.path))
        yield from _columns(
            ("size", "path"),
            *(
                (f"{entry.size:,}", shown(entry.path) + (f" -> {shown(entry.target)}" if entry.target else ""))
                for entry in files[:_MOST_FILES]
            ),
            right=1,
        )
        if tree.files > _MOST_FILES:
            yield f"and {several(tree.files - _MOST_FILES, 'more file')}"
    yield from _problems(found.problems)


def _menu(menu: Menu) -> Iterator[str]:
    timeout = "no timeout" if menu.timeout is None else f"timeout {menu.timeout} s"
    place = f"partition {menu.partition}" if menu.partition else "whole disk"
    yield f"{menu.path} ({place}): {several(len(menu.entries), 'entry', 'entries')}, {timeout}"
    if menu.root:
        yield f"  root {shown(menu.root)}"
    for entry in menu.entries:
        yield f"{'*' if entry is menu.chosen else ' '} {shown(entry.title)}"
        for name, value in (("root", entry.root), (entry.command, f"{entry.kernel} {entry.arguments}".strip())):
            if value:
                yield f"    {name} {shown(value)}"
        yield from (f"    module {shown(module)}" for module in entry.modules)
    yield from _problems(menu.problems)


def _kernel(kernel: Kernel) -> Iterator[str]:
    place = f" (partition {kernel.partition})" if kernel.partition > 0 else ""
    yield f"Kernel {shown(kernel.path)}{place}: {kernel.summary}, {size(kernel.size)}"
    yield from _columns(*((name, shown(value)) for name, value in kernel.facts))
    yield from _columns(
        *((_ANSWERS[way.boots], way.title, _because(way.why, way.missing)) for way in kernel.ways),
    )
    yield from _problems([kernel.problem] if kernel.problem else [])


def _because(why: str, missing: str) -> str:
    return shown(f"{why}; missing: {missing}" if missing else why)


def _verdicts(verdicts: Sequence[Verdict]) -> Iterator[str]:
    rows = []
    for verdict in verdicts:
        first, *more = verdict.why
        rows.append((_ANSWERS[verdict.boots], verdict.loader, shown(first)))
        rows += [("", "", shown(why)) for why in more]
    yield from _columns(*rows)


def _map(total: int, segments: Sequence[Segment]) -> Iterator[str]:
    yield f"[{_bar(total, segments)}]"
    sums: dict[Kind, int] = {}
    for segment in segments:
        sums[segment.kind] = sums.get(segment.kind, 0) + segment.length
    rows = [
        (_SIGNS[kind].replace(" ", "(blank)"), NAMES[kind], size(sums[kind])) for kind in NAMES if kind in sums
    ]
    yield from _columns(*rows)


def _bar(total: int, segments: Sequence[Segment]) -> str:
    """Return the disk to scale: each column shows what fills most of it, but never hides what a boot needs."""
    columns: list[dict[Kind, int]] = [{} for _ in range(_BAR)]
    for segment in segments:
        for index in range(segment.start * _BAR // total, (segment.end * _BAR - 1) // total + 1):
            inside = min(segment.end, (index + 1) * total // _BAR) - max(segment.start, index * total // _BAR)
            columns[index][segment.kind] = columns[index].get(segment.kind, 0) + max(inside, 1)
    return "".join(_SIGNS[_loudest(column)] for column in columns)


def _loudest(column: dict[Kind, int]) -> Kind:
    for kind in _BOLD:
        if kind in column:
            return kind
    return max(column, key=lambda kind: column[kind], default=Kind.HOLE)


def _columns(*rows: Sequence[str], right: int = 0) -> Iterator[str]:
    """Yield rows with their columns aligned, the first `right` of them to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            cell.rjust(width) if index < right else cell.ljust(width) for index, (cell, width) in enumerate(cells)
        ).rstrip()


def _problems(problems: Sequence[str]) -> Iterator[str]:
    for problem in problems:
        yield f"problem: {shown(problem)}"
