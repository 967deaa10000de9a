"""Faults by script: the nth call of a name fails in a way that hosts and networks fail.

    VDI.create 1 SR_BACKEND_FAILURE_44:,There is insufficient space
    task.get_record 5-9 500
    import_raw_vdi 1 cut=1048576
    * 12 expire

A name is a call's, `import_raw_vdi`, `export_raw_vdi` or `import`; `*` counts them all.

- Instead of doing it: an error's CODE[:PARAM,…] (an import's task has it, right after the 200), 500, 503, reset,
  hang.
- Before it: expire (all sessions are dropped), slow (a second).
- After it: lost (done, no answer), truncated (half an answer), close (`Connection: close`), stale (closed without
  a word).
- Of an import: cut=BYTES (reset after so many of the body), stall=BYTES (reads no further), redirect (302 to
  itself), late=CODE[:PARAM,…] (the task fails at the end), lie=BYTES (the task succeeds, only so many are stored),
  pending (stored, and the task never ends).
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from tests.fakes.xapi.failure import Failure

INSTEAD = frozenset({"500", "503", "reset", "hang"})
BEFORE = frozenset({"expire", "slow"})
AFTER = frozenset({"lost", "truncated", "close", "stale"})
STREAM = frozenset({"cut", "stall", "redirect", "late", "lie", "pending"})
_CODE = re.compile(r"[A-Z][A-Z0-9_]+(:.*)?")


@dataclass(frozen=True)
class Fault:
    """From the first to the last call of a name, counted from 1."""

    call: str
    first: int
    last: int
    kind: str
    value: str = ""

    @classmethod
    def parse(cls, line: str) -> "Fault":
        """Read a line of a script; ValueError says what a line is."""
        try:
            call, calls, text = line.split(maxsplit=2)
            first, _, last = calls.partition("-")
            name, _, value = text.partition("=")
            if _CODE.fullmatch(text):
                name, value = "code", text
            fault = cls(call, int(first), int(last or first), name, value)
        except ValueError:
            raise ValueError(f"{line!r} is not CALL NTH[-LAST] KIND") from None
        if name not in {"code"} | INSTEAD | BEFORE | AFTER | STREAM or not 1 <= fault.first <= fault.last:
            raise ValueError(f"{line!r}: no such kind, or calls that do not count from 1")
        return fault

    @property
    def failure(self) -> Failure:
        """The error that the fault names."""
        code, _, params = self.value.partition(":")
        return Failure(code, *(params.split(",") if params else ()))

    @property
    def bytes(self) -> int:
        """How many bytes the fault names."""
        return int(self.value)


NONE = Fault("", 1, 1, "")


class Script:
    """Counts calls and says which fail. Safe between threads."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._faults = [Fault.parse(line) for line in lines]
        self._calls: Counter[str] = Counter()
        self._lock = Lock()

    def add(self, *lines: str) -> None:
        """Add faults; calls count from here."""
        with self._lock:
            fresh = [Fault.parse(line) for line in lines]
            for one in fresh:
                start = self._calls[one.call]
                self._faults.append(Fault(one.call, one.first + start, one.last + start, one.kind, one.value))

    def next(self, call: str) -> Fault:
        """Count a call; return its fault."""
        with self._lock:
            for name in (call, "*"):
                self._calls[name] += 1
            return next((one for one in self._faults if self._due(one, call)), NONE)

    def _due(self, one: Fault, call: str) -> bool:
        return one.call in {call, "*"} and one.first <= self._calls[one.call] <= one.last
