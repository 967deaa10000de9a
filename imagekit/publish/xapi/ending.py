"""How a publication to a pool ends: what was made is undone when it fails, and kept when the user ends it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from imagekit.errors import PublishError
from imagekit.publish.entry import Entry
from imagekit.publish.undoing import Undoing
from imagekit.publish.xapi import handler, storage
from imagekit.publish.xapi.session import Session
from imagekit.publish.xapi.undo import undo
from imagekit.receipt import Resource


@dataclass(frozen=True)
class Ending:
    """Sees a run to its end. `labels`: the names of its VDI and its VM, by kind; `task` that of its tasks."""

    session: Session
    entry: Entry
    run: str
    task: str
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    keep: bool
    tell: Callable[[str], None]

    def undoing(self) -> AbstractContextManager[None]:
        """Undo what was made when something fails; a signal keeps it, to go on with."""
        entry = self.entry

        def taken_back() -> list[Resource]:
            return undo(self.session, entry.receipt, entry.ledger, self.environment)

        return Undoing(entry, "the pool", self.keep, self.tell, self._enter_unknown, taken_back).on_failure()

    def end_tasks(self) -> None:
        """End the tasks that could not be ended before, that no answer told of, or that a killed run left."""
        self._enter_tasks()
        for task in [one for one in self.entry.receipt.left if one.kind == "task"]:
            with suppress(PublishError):
                handler.end(self.session, task.id)
                self.entry.gone("task", task.id)

    def _enter_unknown(self) -> None:
        """Enter what this run made without an answer that told so."""
        self._enter_tasks()
        for kind, label in self.labels.items():
            for _, record in storage.labelled(self.session, kind, label, self.entry.receipt.id):
                if record["other_config"].get(storage.RUN) == self.run:
                    self.entry.made(kind.lower(), str(record["uuid"]))

    def _enter_tasks(self) -> None:
        with suppress(PublishError):
            for ref in self.session.call("task.get_by_name_label", self.task):
                self.entry.made("task", str(ref))
