"""The tables of `make prove` and `make prove-os`: on a terminal, and between two marks of a page."""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from imagekit import command


def aligned(cells: Sequence[str], wide: Sequence[int]) -> str:
    """Return a line of the table for a terminal."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, wide, strict=True)).rstrip()


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the table for a page."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ("---",) * len(heads), *rows))


def told(versions: Mapping[str, str]) -> str:
    """Return the day, and the versions of what boots: those of a lab's packages, and QEMU's."""
    xen = next(value for name, value in versions.items() if name.startswith("xen-hypervisor"))
    dom0 = next(value for name, value in versions.items() if name.startswith("linux-image"))
    qemu = re.search(r"version (\S+)", command.version("qemu-system-x86_64"))
    return (
        f"On {time.strftime('%Y-%m-%d')}: Xen {xen}, QEMU {qemu[1] if qemu else '?'}, dom0's Linux {dom0}, GRUB\n"
        f"{versions['grub-xen-bin']}."
    )


def write(page: Path, by: str, text: str) -> None:
    """Put a text between its marks on a page."""
    first, last = f"<!-- by {by}: from here -->", f"<!-- by {by}: to here -->"
    before, _, rest = page.read_text().partition(first)
    _, _, after = rest.partition(last)
    page.write_text(f"{before}{first}\n\n{text}\n\n{last}{after}")
