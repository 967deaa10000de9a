"""Taking back what uploaders made: by receipt, and what no receipt of a publication claims.

A target names who does it beside its uploader, `KEEPER = "imagekit.publish.aws.undo:Keeper"`: a class that is made
of the environment and of who answers questions. Targets of one system name the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Protocol

from imagekit import targets
from imagekit.errors import ImagekitError, ToolError, UsageError
from imagekit.extras import missing
from imagekit.publish import Ask
from imagekit.receipt import Ledger, Receipt, Resource

_MANY = 3  # objects are counted, not named


@dataclass(frozen=True)
class Orphan:
    """A resource of ours that no receipt of a publication claims."""

    kind: str
    id: str
    region: str
    made: str
    why: str


class Keeper(Protocol):
    """What KEEPER names."""

    def undo(self, receipt: Receipt, ledger: Ledger) -> list[Resource]:
        """Remove what a publication made, the newest first, and return it; what is gone already counts as removed.

        The ledger is told after each one. PublishError when something is left.
        """

    def places(self, named: Sequence[str], ledger: Ledger) -> list[str]:
        """Return the regions or hosts to sweep: of those named its own, or all that it knows of."""

    def orphans(self, places: Sequence[str], age: timedelta, ledger: Ledger) -> list[Orphan]:
        """Return what is left over in these places, older than this."""

    def remove(self, orphan: Orphan) -> None:
        """Remove one of them; PublishError when it is left."""


def keeper(target: str, environment: Mapping[str, str], ask: Ask) -> Keeper:
    """Return who takes back what a target's uploader made; UsageError when nobody does."""
    named: str = getattr(targets.load(target), "KEEPER", "")
    if not named:
        raise UsageError(f"the target {target} takes nothing back")
    return _load(named, environment, ask)


def keepers(environment: Mapping[str, str], ledger: Ledger, ask: Ask) -> Iterator[Keeper]:
    """Yield everybody who takes something back; one whose SDK is missing only counts if a receipt is theirs."""
    own: dict[str, set[str]] = {}
    for target in targets.names():
        with suppress(ToolError):  # a plug-in that cannot be loaded
            named: str = getattr(targets.load(target), "KEEPER", "")
            if named:
                own.setdefault(named, set()).add(target)
    for named, served in own.items():
        try:
            yield _load(named, environment, ask)
        except ToolError:
            if any(receipt.target in served for receipt in ledger):
                raise


def take_back(
    resources: Iterable[Resource], receipt: Receipt, ledger: Ledger, remove: Callable[[Resource], None]
) -> list[Resource]:
    """Remove resources of a receipt, and return them; what cannot go keeps no other, and is raised last."""
    removed, errors = [], []
    for one in resources:
        try:
            remove(one)
        except ImagekitError as error:
            errors.append(error)
            continue
        one.gone = True
        ledger.write(receipt)
        removed.append(one)
    if errors:
        raise errors[0]
    return removed


def is_before(when: str, then: datetime) -> bool:
    """Tell whether a time, as receipts and clouds write it, is not after another; False for what is none."""
    try:
        return datetime.fromisoformat(when) <= then
    except (ValueError, TypeError):  # no time, or none of a place
        return False


def told_of(resources: Iterable[Resource]) -> str:
    """Return resources as words; many objects as their number."""
    all_of_them = list(resources)
    objects = [one for one in all_of_them if one.kind == "object"]
    few = [one for one in all_of_them if one.kind != "object"] if len(objects) > _MANY else all_of_them
    words = [f"{one.kind} {one.id} ({one.region})" for one in few]
    return ", ".join(words + ([f"{len(objects)} objects ({objects[0].region})"] if len(objects) > _MANY else []))


def _load(named: str, environment: Mapping[str, str], ask: Ask) -> Keeper:
    module, _, name = named.partition(":")
    try:
        made: Keeper = getattr(import_module(module), name)(environment, ask)
    except ModuleNotFoundError as error:
        raise missing("taking it back", error) from error
    return made
