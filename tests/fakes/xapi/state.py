"""What all parts of the server share, and one call on its way."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.fakes.xapi.database import Database
from tests.fakes.xapi.disks import Disks
from tests.fakes.xapi.faults import Script
from tests.fakes.xapi.kinds import Record
from tests.fakes.xapi.model import Model
from tests.fakes.xapi.settings import Settings


@dataclass(frozen=True)
class Call:
    """One call that was answered. `result` is ok, or the code of the failure."""

    time: float
    host: int
    name: str
    result: str
    fault: str
    params: tuple[Any, ...] = ()


@dataclass
class State:
    """The pool. `complaints`: what xapi takes without a word, and no client should send."""

    settings: Settings
    folder: Path
    model: Model
    db: Database
    disks: Disks
    script: Script
    calls: list[Call] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)  # PEM, a host each
    # When each VM that runs began to, in time.monotonic()'s seconds.
    began: dict[str, float] = field(default_factory=dict)
    pool: str = ""
    dom0: str = ""
    # What comes due: a moment of time.monotonic(), and what then happens.
    due: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def later(self, seconds: float, then: Callable[[], object]) -> None:
        """Let something happen, at the first call after so many seconds."""
        with self.db.lock:
            self.due.append((time.monotonic() + seconds, then))

    def settle(self) -> None:
        """Let happen what is due."""
        with self.db.lock:
            now = time.monotonic()
            ripe = [one for one in self.due if one[0] <= now]
            self.due = [one for one in self.due if one[0] > now]
            for _, then in ripe:
                then()

    def sr_of(self, name: str) -> Record:
        """Return the record of an SR by its label."""
        return self.db.record("SR", self.db.where("SR", "name_label", name)[0])


@dataclass(frozen=True)
class Ask:
    """One call: by which session, for which task, at which host, in which form."""

    state: State
    session: str = ""
    task: str = ""
    host: int = 0
    xml: bool = True

    @property
    def db(self) -> Database:
        """The database."""
        return self.state.db


def now() -> str:
    """Return the time as xapi writes it."""
    return datetime.now(UTC).strftime("%Y%m%dT%H:%M:%SZ")
