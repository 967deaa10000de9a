"""The rates that a service allows."""

import time
from collections.abc import Callable
from threading import Lock


class Allowance:
    """So many calls a second; a second's worth at once, or a burst."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic, *, burst: float = 0.0) -> None:
        self._rate = rate
        self._most = max(1.0, rate, burst)
        self._clock = clock
        self._lock = Lock()
        self._left = self._most
        self._seen = clock()

    def take(self) -> bool:
        """Whether one more call is allowed now."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._seen) * self._rate)
            self._seen = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
