"""The program of a worker process: see `imagekit.executor.processes`.

It ends when nobody talks to it any more: whoever started it may be killed by a signal that nobody can catch. What
it is at is given up then, and by SIGTERM: its tools are killed, and its work is swept up.
"""

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from imagekit import events
from imagekit.command import stop_children
from imagekit.errors import BuildError, ImagekitError, TerminatedError
from imagekit.events import Warned
from imagekit.executor.making import make
from imagekit.executor.task import Task
from imagekit.plan import Json
from imagekit.store import Store
from imagekit.store.access import Access

_PATIENCE = 0.2  # seconds
_busy: set[bytes] = set()


def main(root: str, access: str) -> None:
    """Run the tasks that come on standard input against the store at `root`, until it ends.

    `access` is how the shared store behind it is got at, "" where there is none.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for who started us
    signal.signal(signal.SIGTERM, _terminate)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a step prints by mistake is no answer
    threading.Thread(target=_watch, daemon=True).start()
    shared = Access.from_text(access).open() if access else None
    if shared is not None:
        shared.warn = lambda what: _answer(answers, events.to_json(Warned(what)))
    store = Store(Path(root), shared)
    with suppress(TerminatedError, BrokenPipeError), store.in_use():
        for line in sys.stdin.buffer:
            _answer(answers, _answered(line, store, answers))


def _answered(line: bytes, store: Store, answers: BinaryIO) -> Mapping[str, Json]:
    _busy.add(line)
    try:
        task = Task.from_json(json.loads(line))
        return make(task, store, lambda event: _answer(answers, events.to_json(event))).to_json()
    except TerminatedError:
        raise
    except ImagekitError as error:
        return error.to_json()
    except Exception as error:  # noqa: BLE001 -- told by who has the user's terminal
        return BuildError(f"a step has a fault: {type(error).__name__}: {error}").to_json()
    finally:
        _busy.clear()


def _answer(answers: BinaryIO, content: Mapping[str, Json]) -> None:
    answers.write(json.dumps(content).encode() + b"\n")


def _watch() -> None:
    """Wait until nobody can talk to us any more."""
    watched = select.poll()
    watched.register(0, 0)  # POLLHUP comes unasked
    watched.poll()
    while True:  # what is idle ends by itself; what has just begun is told again
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_PATIENCE)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    if _busy:
        _busy.clear()  # once is enough
        stop_children()
        raise TerminatedError("terminated")
