"""How a publication ends: what was made is undone when it fails, and kept when the user ends it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imagekit.errors import ImagekitError, InterruptedByUser
from imagekit.publish.entry import Entry
from imagekit.publish.keeping import told_of
from imagekit.receipt import DESTROYED, FAILED, PUBLISHED, Resource, now


@dataclass(frozen=True)
class Undoing:
    """What is done where a publication fails. `keep`: nothing; the user wants to look at it, or to go on with it.

    `enter_unknown` enters what was made without an answer that told so; `undo` removes what the entry has;
    `where` is the place in words.
    """

    entry: Entry
    where: str
    keep: bool
    tell: Callable[[str], None]
    enter_unknown: Callable[[], None]
    undo: Callable[[], list[Resource]]

    @contextmanager
    def on_failure(self) -> Iterator[None]:
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

    def _failed(self, error: Exception) -> None:
        receipt = self.entry.receipt
        receipt.state, receipt.ended = FAILED, now()
        receipt.why = error.brief if isinstance(error, ImagekitError) else type(error).__name__
        self.entry.save()
        try:
            self.enter_unknown()
            if receipt.left and self.keep:
                self.tell(f"kept, as asked: {told_of(receipt.left)}")
            elif receipt.left:
                self.tell(f"removed again: {told_of(self.undo())}")
                receipt.state, receipt.result = DESTROYED, ""
                self.entry.save()
        except ImagekitError as second:
            left = told_of(receipt.left) or f"what {self.where} did not tell of"
            self.tell(f"left in {self.where}: {left} ({second.brief})")
