"""What a worker does: one step, told and answered in JSON. It has a cache and, behind it, the farm's store."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from imagekit import events
from imagekit.errors import BuildError, ImagekitError, ToolError
from imagekit.events import Listener, Warned
from imagekit.executor import Task, make
from imagekit.farm.cargo import received
from imagekit.runner import tool_version
from imagekit.store import Store, default_root
from imagekit.store.access import Access

ACCESS = "IMAGEKIT_WORKER_STORE"
"""The variable in which a worker is told how it gets at the store: `Access.to_text`."""
CACHE = "IMAGEKIT_CACHE_DIR"


def step(text: str, url: str) -> str:
    """Make what a task asks for and return its outcome, or the error; `url` is the store of who asks.

    An error is an answer: Dask would run again what fails by an exception.
    """
    try:
        return json.dumps(_done(json.loads(text), url))
    except ImagekitError as error:
        return json.dumps(error.to_json())
    except Exception as error:  # noqa: BLE001 -- told by who has the user's terminal
        return json.dumps(BuildError(f"a step has a fault: {type(error).__name__}: {error}").to_json())


def _done(content: dict[str, object], url: str) -> dict[str, object]:
    store = _store(os.environ.get(ACCESS, ""), os.environ.get(CACHE))
    if store.shared is None or store.shared.url != url:
        ours = store.shared.url if store.shared is not None else "none"
        raise ToolError(
            f"a worker has another store than who asks: {ours} and {url}", hint="start both with the same --store"
        )
    tell = _telling(str(content.pop("topic")))
    store.shared.warn = lambda what: tell(Warned(what))
    with store.in_use(), received(content, store) as task:
        _check_tools(task)
        outcome = make(task, store, tell)
        if outcome.cached:  # here, which tells nothing of there
            store.offer(task.key, task.step, store.stored(outcome.digest))
        return outcome.to_json()


@cache
def _store(access: str, folder: str | None) -> Store:
    # Others read what is made here from the store: that it does not take it is an error.
    shared = replace(Access.from_text(access), required=True).open() if access else None
    return Store(Path(folder) if folder else default_root(), shared)


def _check_tools(task: Task) -> None:
    """ToolError when a tool is another version than the key was made for: the result would not be what it says."""
    for tool, version in task.tools.items():
        if (ours := tool_version(tool)) != version:
            raise ToolError(
                f"a worker has another {tool} than who asks",
                details=f"{ours}\n{version}",
                hint="machines of a farm are to have the same tools: one container image for all",
            )


def _telling(topic: str) -> Listener:
    """Return who tells the front of a step's course, through the scheduler's log of events."""
    log = _log()
    return lambda event: log(topic, json.dumps(events.to_json(event)))


def _log() -> Callable[[str, str], None]:
    from distributed import get_worker  # noqa: PLC0415 -- an extra's

    return get_worker().log_event
