"""The course of a publication: what it says, that it ends when the user wants it, and how several of them end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Event
from time import sleep

from imagekit.errors import ImagekitError, InterruptedByUser
from imagekit.publish import Terms
from imagekit.receipt import Receipt


@dataclass(frozen=True)
class Course:
    """What one publication says, of its `place`; `stop` is set when the user ends it."""

    place: str
    note: Callable[[str], None]
    stop: Event

    @classmethod
    def to(cls, place: str, terms: Terms) -> "Course":
        """Return the course of a publication to a place."""
        return cls(place, terms.note, terms.stop)

    def tell(self, text: str) -> None:
        """Tell the user."""
        self.note(text if text.startswith(f"{self.place}:") else f"{self.place}: {text}")

    def go_on(self) -> None:
        """InterruptedByUser when the user has ended it."""
        if self.stop.is_set():
            raise InterruptedByUser("interrupted")

    def wait(self, seconds: float) -> bool:
        """Let some seconds pass; InterruptedByUser when the user ends it meanwhile."""
        if self.stop.wait(seconds):
            raise InterruptedByUser("interrupted")
        return True


def wait(seconds: float) -> bool:
    """Let some seconds pass, where nothing is published."""
    sleep(seconds)
    return True


def attempted(run: Callable[[], Receipt]) -> Receipt | ImagekitError:
    """Return a publication's receipt, or its error: others of the same order go on. A signal ends all of them."""
    try:
        return run()
    except InterruptedByUser:
        raise
    except ImagekitError as error:
        return error


def settled(results: Iterable[Receipt | ImagekitError], terms: Terms) -> list[Receipt]:
    """Return the receipts of several places; the first error is raised, after what is published was told."""
    known = list(results)
    receipts = [one for one in known if isinstance(one, Receipt)]
    errors = [one for one in known if not isinstance(one, Receipt)]
    for receipt in receipts:
        terms.done(receipt)
        if errors:
            terms.note(f"{receipt.region}: {receipt.result} is published, and stays")
    if errors:
        raise errors[0]
    return receipts
