"""How fast blocks may leave: under a quota, slower when the server says so, faster again when it does not."""

import time
from collections.abc import Callable
from threading import Lock

_BURST = 0.05  # s of the rate that may be made up for after a pause
_CUT_EVERY = 0.1  # s: 64 workers that are told the same thing at once are told it once
_CUT = 0.5
_RISE = 0.15  # of the rate, a second
_HOLD = 1.0  # s after a cut without a rise
_LEAST = 2.0  # requests a second


class Pace:
    """Times of departure for many threads."""

    def __init__(self, quota: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._quota = quota
        self._clock = clock
        self._lock = Lock()
        self._next = self._risen = self._cut = clock()
        self.rate = quota

    def delay(self) -> float:
        """Take the next departure and return the seconds until then."""
        with self._lock:
            now = self._clock()
            if now > self._risen:
                self.rate = min(self._quota, self.rate * (1 + _RISE * min(1.0, now - self._risen)))
                self._risen = now
            leave = max(self._next, now - _BURST)
            self._next = leave + 1 / self.rate
            return max(0.0, leave - now)

    def slower(self) -> None:
        """Halve the rate: the server throttles."""
        with self._lock:
            now = self._clock()
            if now - self._cut >= _CUT_EVERY:
                self.rate = max(min(_LEAST, self._quota), self.rate * _CUT)
                self._cut = now
                self._risen = now + _HOLD
                self._next = max(self._next, now)
