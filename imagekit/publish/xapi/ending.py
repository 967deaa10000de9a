"""How a publication to a pool ends: what was made is undone when it fails, and kept when the user ends it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from imagekit.errors import ImagekitError, InterruptedByUser, PublishError
from imagekit.publish.keeping import told_of
from imagekit.publish.xapi import handler, storage
from imagekit.publish.xapi.entry import Entry
from imagekit.publish.xapi.session import Session
from imagekit.publish.xapi.undo import undo
from imagekit.receipt import DESTROYED, FAILED, PUBLISHED, now


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

    @contextmanager
    def undoing(self) -> Iterator[None]:
        """Undo what was made when something fails; a signal keeps it, to go on with."""
        receipt = self.entry.receipt
        try:
            yield
        except InterruptedByUser:
            if receipt.left:
                self.tell(f"kept, to go on with: {told_of(receipt.left)}")
            raise
        except Exception as error:
            if receipt.state == PUBLISHED:
                self.tell(f"{receipt.result} is published, and stays")
            else:
                self._failed(error)
            raise

    def end_tasks(self) -> None:
        """End the tasks that could not be ended before, that no answer told of, or that a killed run left."""
        self._enter_tasks()
        for task in [one for one in self.entry.receipt.left if one.kind == "task"]:
            with suppress(PublishError):
                handler.end(self.session, task.id)
                self.entry.gone("task", task.id)

    def _failed(self, error: Exception) -> None:
        receipt = self.entry.receipt
        receipt.state, receipt.ended = FAILED, now()
        receipt.why = error.brief if isinstance(error, ImagekitError) else type(error).__name__
        self.entry.save()
        try:
            self._enter_unknown()
            if receipt.left and self.keep:
                self.tell(f"kept, as asked: {told_of(receipt.left)}")
            elif receipt.left:
                removed = undo(self.session, receipt, self.entry.ledger, self.environment)
                self.tell(f"removed again: {told_of(removed)}")
                receipt.state, receipt.result = DESTROYED, ""
                self.entry.save()
        except ImagekitError as second:
            left = told_of(receipt.left) or "what the pool did not tell of"
            self.tell(f"left in the pool: {left} ({second.brief})")

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
