"""Which guests a host starts by a disk: PV and PVH by what pygrub finds on it, HVM by its boot sector."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import VerificationError
from imagekit.guests import HOST
from imagekit.inspect.loaders import GRUB_BIOS, PYGRUB
from imagekit.inspect.report import Report
from imagekit.inspect.survey import survey
from imagekit.kernel import Way
from imagekit.stages import Guest
from imagekit.unwrap import unwrapped


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether such a guest boots (None: cannot be told), and why."""

    boots: bool | None
    why: str


def guests(path: Path, private_key: Path | None = None) -> Mapping[Guest, Answer]:
    """Return the answer for each kind of guest, in the order in which a host tries them.

    Errors are those of `inspect`, but for a disk on which nothing is known: that is answered by None.
    """
    ways = HOST["pygrub"]
    with unwrapped(path, private_key) as disk:
        try:
            report = survey(disk)
        except VerificationError as error:
            return dict.fromkeys(ways, Answer(None, error.details or error.brief))
    if report.kind == "kernel":
        return dict.fromkeys(ways, Answer(boots=False, why="it is a kernel, and no disk"))
    return {guest: _answer(report, way) for guest, way in ways.items()}


def _answer(report: Report, way: Way) -> Answer:
    loader = GRUB_BIOS if way is Way.HVM else PYGRUB.name
    (verdict,) = (verdict for verdict in report.verdicts if verdict.loader == loader)
    if not verdict.boots or way.value in verdict.starts:
        return Answer(verdict.boots, f"{loader}: {'; '.join(verdict.why)}")
    ways = (known for kernel in report.kernels for known in kernel.ways if known.name == way.value)
    return Answer(boots=False, why="; ".join(dict.fromkeys(known.why for known in ways if known.why)))
