"""A row of `make prove`: an image, how it is to boot or to fail, and how it ended."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from urllib.parse import urlsplit

from imagekit.errors import VerificationError
from imagekit.kernel import Way
from imagekit.prove import Expected, Laboratory, Network, Verdict, subject
from imagekit.unwrap import unwrapped

MIB = 1 << 20
SHORT = 10.0  # seconds for what hangs
HELLO = Expected("hello from imagekit", off=True)
MULTIBOOT = Expected("started by: multiboot", off=True)
LINK = Network(IPv4Interface("10.0.0.1/24"), urlsplit("http://10.0.0.2/"))

Maker = Callable[[Path], Path]
"""Makes an image in a folder and returns where it is."""


@dataclass(frozen=True)
class Result:
    """How a row ended."""

    what: str
    way: str
    loader: str
    verdict: str
    why: str
    good: bool
    seconds: float
    stages: str = ""
    memory: int = 0
    details: str = ""

    def cells(self) -> tuple[str, ...]:
        """What the table says of it."""
        memory = str(self.memory // MIB) if self.memory else ""
        seconds = f"{self.seconds:.1f}"
        return self.what, self.way, self.loader, self.verdict, self.why, seconds, self.stages, memory


HEADS = ("image", "way", "loader", "verdict", "why", "s", "of which", "MiB")


@dataclass(frozen=True)
class Boot:
    """An image and what has to come of it: a boot as expected, or the verdict `fails`, for a reason like `why`."""

    what: str
    way: Way
    image: Maker
    expected: Expected
    network: Network | None = None
    memory: int = 64 * MIB
    timeout: float = 60.0
    fails: Verdict | None = None
    why: str = ""

    @property
    def by(self) -> str:
        """The way, as the table has it."""
        return self.way.value

    def run(self, laboratory: Laboratory, folder: Path) -> Result:
        """Boot it."""
        made = self.image(folder)
        with unwrapped(made, None) as raw:
            found = subject(made, target=None, way=self.way, memory=self.memory, raw=raw)
            proof = laboratory.prove(found, self.expected, network=self.network, timeout=self.timeout)
        reasons = [line.strip() for line in proof.why.splitlines()]
        if self.fails is None:
            good, why = proof.booted and not proof.warnings, reasons[0]
        else:
            telling = next((line for line in reasons if re.search(self.why, line)), None)
            good = not proof.booted and proof.verdict == self.fails and telling is not None
            why = telling or reasons[0]
        return Result(
            self.what,
            self.by,
            proof.loader.rsplit(" ", 1)[0],
            proof.verdict,
            why,
            good,
            sum(proof.seconds.values()),  # without waiting for the lab's lock
            ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in proof.seconds.items()),
            proof.memory,
            "\n".join((proof.why, *proof.warnings)),
        )


@dataclass(frozen=True)
class Check:
    """A configuration that the xen target writes, read by xl."""

    what: str
    image: Maker
    by: str = "xl create -n"

    def run(self, laboratory: Laboratory, folder: Path) -> Result:
        """Have xl read it."""
        raw = self.image(folder)
        begun = time.monotonic()
        try:
            laboratory.check(raw.with_name(raw.name + ".cfg").read_bytes())
            good, why, details = True, "xl takes it", ""
        except VerificationError as error:
            good, why, details = False, error.brief, error.details
        verdict = "taken" if good else "refused"
        return Result(self.what, self.by, "xl", verdict, why, good, time.monotonic() - begun, details=details)


Row = Boot | Check
