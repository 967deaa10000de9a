"""Faults by script: the nth call of an action fails in a way that networks and services fail.

    PutSnapshotBlock 3 reset
    PutSnapshotBlock 5-9 throttle
    CompleteSnapshot 1 lost

Before the call is done: 500, 503, throttle, denied, reset, hang. After it: lost (done, no answer), truncated (half
an answer), slow (an answer that takes a second to come), close (whole answer, `Connection: close`), stale (whole
answer, then closed without a word). Later: failed (what the call makes ends in the state failed or error).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

BEFORE = frozenset({"500", "503", "throttle", "denied", "reset", "hang"})
AFTER = frozenset({"lost", "truncated", "slow", "close", "stale"})
LATER = frozenset({"failed"})
KINDS = BEFORE | AFTER | LATER


@dataclass(frozen=True)
class Fault:
    """From the first to the last call of an action, counted from 1."""

    action: str
    first: int
    last: int
    kind: str

    @classmethod
    def parse(cls, line: str) -> "Fault":
        """Read a line of a script; ValueError says what a line is."""
        try:
            action, calls, kind = line.split()
            first, _, last = calls.partition("-")
            fault = cls(action, int(first), int(last or first), kind)
        except ValueError:
            raise ValueError(f"{line!r} is not ACTION NTH[-LAST] KIND") from None
        if kind not in KINDS or not 1 <= fault.first <= fault.last:
            raise ValueError(f"{line!r}: kinds are {', '.join(sorted(KINDS))}; calls count from 1")
        return fault


class Script:
    """Counts calls and says which fail. Safe between threads."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._faults = [Fault.parse(line) for line in lines]
        self._calls: Counter[str] = Counter()
        self._lock = Lock()

    def next(self, action: str) -> str:
        """Count a call; return the kind of its fault, or nothing."""
        with self._lock:
            self._calls[action] += 1
            number = self._calls[action]
        return next(
            (one.kind for one in self._faults if one.action == action and one.first <= number <= one.last), ""
        )
