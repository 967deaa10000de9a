"""Work beside the main thread, where signals arrive.

SDKs take an exception that a signal raises in them for a broken connection, and try again: botocore, paramiko. So
they run on a thread that ends when `stop` is set, and the main thread waits, asks the user what that one wants to
know, and takes the signals.
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from getpass import getpass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

from imagekit.errors import InterruptedByUser

if TYPE_CHECKING:
    from imagekit.publish import Ask

_PATIENCE = 0.5  # seconds
_GRACE = 20.0  # seconds that work has to end after a signal

_T = TypeVar("_T")


def aside(work: Callable[["Ask"], _T], stop: Event) -> _T:
    """Return what the work returns, or raise what it raises; a signal's exception once the work has ended.

    The work is given who answers its questions.
    """
    questions = _Questions(stop)
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(questions))
        except BaseException as error:  # noqa: BLE001 -- raised again by the main thread
            errors.append(error)
        finally:
            questions.close()

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        questions.answer()
    except InterruptedByUser:
        stop.set()
        thread.join(_GRACE)
        raise
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def ask_user(question: str, *, secret: bool = False) -> str | None:
    """Ask the user, if one is there; the prompt is no result, so it goes to stderr."""
    if not sys.stdin.isatty():
        return None
    prompt = question + (" " if question.endswith("]") else ": ")
    if secret:
        return getpass(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().rstrip("\n") or None


class _Questions:
    """Puts the questions of one thread to the user of another. An Ask."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._asked: SimpleQueue[tuple[str, bool] | None] = SimpleQueue()
        self._answers: SimpleQueue[str | None] = SimpleQueue()

    def __call__(self, question: str, *, secret: bool = False) -> str | None:
        if self._stop.is_set():
            return None
        self._asked.put((question, secret))
        return self._answers.get()

    def answer(self) -> None:
        """Ask the user until there are no more questions."""
        try:
            while (asked := self._next()) is not None:
                question, secret = asked
                self._answers.put(ask_user(question, secret=secret))
        except BaseException:
            self._answers.put(None)  # nobody waits for the user any longer
            raise

    def _next(self) -> tuple[str, bool] | None:
        """Return the next question, None after the last; a signal that comes at a bad moment is noticed soon."""
        while True:
            with suppress(Empty):
                return self._asked.get(timeout=_PATIENCE)

    def close(self) -> None:
        """Ask no more."""
        self._asked.put(None)
