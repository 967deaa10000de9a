"""`imagekit receipts`: what was published, and taking it back."""

import json
import os
from contextlib import suppress
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli.aside import aside, ask_user
from imagekit.cli.console import AsJson, Verbose, say, state_dir, tell
from imagekit.errors import ImagekitError, InterruptedByUser, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from imagekit.publish.keeping import Keeper, Orphan
    from imagekit.receipt import Ledger, Receipt, Resource

app = typer.Typer(no_args_is_help=True, help="What was published, and where.")

Id = Annotated[str, typer.Argument(metavar="ID", help="A receipt's id or its start, or its result: an AMI's id.")]


@app.callback()
def root() -> None:
    """What was published, and where."""


@app.command("ls")
def ls(
    rehearsed: Annotated[bool, typer.Option("--rehearsed", help="Those of rehearsals, too.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """List the receipts, the oldest first."""
    from imagekit.listeners import aligned  # noqa: PLC0415 -- --help need not import it

    found = [*_ledger(), *(_ledger(rehearsed=True) if rehearsed else ())]
    if as_json:
        say(json.dumps({"receipts": [one.to_json() for one in found]}))
        return
    rows = [("id", "begun", "state", "target", "region", "result", "image")]
    rows += [
        (
            *(one.id, one.begun, one.state + (" (rehearsed)" if one.rehearsed else ""), one.target),
            *(one.region, one.result or "-", one.image),
        )
        for one in found
    ]
    say(aligned(rows))


@app.command("show")
def show(
    name: Id,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Print one receipt, as JSON."""
    try:
        found = _ledger().named(name)
    except UsageError:
        found = _ledger(rehearsed=True).named(name)
    say(json.dumps(found.to_json(), indent=1, sort_keys=True))


@app.command("destroy")
def destroy(
    names: Annotated[list[str], typer.Argument(metavar="ID...", help="Receipts' ids, or their results.")],
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Remove what publications made: images, snapshots, files, domains; safe to repeat."""
    from imagekit.publish.keeping import told_of  # noqa: PLC0415
    from imagekit.receipt import DESTROYED, now  # noqa: PLC0415

    ledger = _ledger()
    chosen = [known for name in names if (known := _real(ledger, name))]
    removed, failed = [], []
    for known in chosen:
        try:
            with ledger.entry(known) as receipt:
                gone = _taken_back(receipt, ledger)
                receipt.state, receipt.ended = DESTROYED, now()
                ledger.write(receipt)
        except InterruptedByUser:
            raise
        except ImagekitError as error:  # the others may go
            failed.append(error)
            tell(f"{known.id}: {error.brief}")
            continue
        left = [one for one in receipt.resources if not one.gone]
        tell(f"{receipt.id}: {'removed ' + told_of(gone) if gone else 'nothing was left to remove'}")
        if left:
            tell(f"{receipt.id}: not made by it, and left alone: {told_of(left)}")
        removed += gone
    if as_json:
        say(json.dumps({"removed": [{"kind": one.kind, "id": one.id, "region": one.region} for one in removed]}))
    else:
        for one in removed:
            say(one.id)
    if failed:
        raise failed[0]


def _real(ledger: "Ledger", name: str) -> "Receipt | None":
    """Return a receipt; of a rehearsal's None, as nothing of it is left: its account went with the command."""
    from imagekit.receipt import DESTROYED, now  # noqa: PLC0415

    try:
        return ledger.named(name)
    except UsageError:
        rehearsals = _ledger(rehearsed=True)
        if (known := _named(rehearsals, name)) is None:
            raise
    known.state, known.ended = DESTROYED, now()
    for one in known.resources:
        one.gone = True
    rehearsals.write(known)
    tell(f"{known.id}: it was a rehearsal, and its account is gone with all that was in it")
    return None


def _named(ledger: "Ledger", name: str) -> "Receipt | None":
    with suppress(UsageError):
        return ledger.named(name)
    return None


@app.command("sweep")
def sweep(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="12h, 7d, 2w.")] = "7d",
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="REGION|HOST", help="Where to look; again for more. Default: where receipts are."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show them.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Remove what unfinished publications left: by receipts, in an account by imagekit's tags, too.

    Of AWS, pending and unused snapshots, and images that have failed; what an image uses is never touched.
    """
    from imagekit.cli.cache import parse_age  # noqa: PLC0415

    swept = _Sweep(timedelta(seconds=parse_age(older_than)), region or [])
    found = swept.look()
    for _, one in found:
        verb = "would remove" if dry_run else "removing"
        tell(f"{verb} {one.kind} {one.id} ({one.region}), {one.made}: {one.why}")
    told = [one for _, one in found] if dry_run else swept.remove(found)
    if as_json:
        listed = [{"kind": one.kind, "id": one.id, "region": one.region, "why": one.why} for one in told]
        say(json.dumps({"orphans": listed, "removed": not dry_run}))
    else:
        for one in told:
            say(one.id)
    if swept.failed:
        raise swept.failed[0]


class _Sweep:
    """What is left over in all places, and the errors of those that did not answer."""

    def __init__(self, age: timedelta, named: list[str]) -> None:
        self._age = age
        self._named = named
        self._ledger = _ledger()
        self.failed: list[ImagekitError] = []

    def look(self) -> "list[tuple[Keeper, Orphan]]":
        """Return what may go, and who removes it; UsageError when there is no place to look through."""
        from imagekit.publish.keeping import keepers  # noqa: PLC0415

        found: list[tuple[Keeper, Orphan]] = []
        looked: list[str] = []
        for keeper in keepers(os.environ, self._ledger, ask_user):
            try:
                places = keeper.places(self._named, self._ledger)
                looked += places
                found += [(keeper, one) for one in self._orphans(keeper, places)]
            except InterruptedByUser:
                raise
            except ImagekitError as error:
                self.failed.append(error)
        if not looked and not self.failed:
            raise UsageError("no region or host to look through", hint="--region eu-west-1")
        if not found and not self.failed:
            tell(f"nothing to sweep in {', '.join(looked)}")
        return found

    def _remove(self, keeper: "Keeper", one: "Orphan") -> None:
        aside(lambda _: keeper.remove(one), Event())

    def _orphans(self, keeper: "Keeper", places: list[str]) -> "list[Orphan]":
        return aside(lambda _: keeper.orphans(places, self._age, self._ledger), Event())

    def remove(self, found: "list[tuple[Keeper, Orphan]]") -> "list[Orphan]":
        """Remove it, and enter that into the receipts; return what is gone now."""
        gone = []
        for keeper, one in found:
            try:
                self._remove(keeper, one)
            except InterruptedByUser:
                raise
            except ImagekitError as error:
                self.failed.append(error)
                continue
            _enter_gone(self._ledger, one.id)
            gone.append(one)
        return gone


def _taken_back(receipt: "Receipt", ledger: "Ledger") -> "list[Resource]":
    from imagekit.publish.keeping import keeper  # noqa: PLC0415

    return aside(lambda ask: keeper(receipt.target, os.environ, ask).undo(receipt, ledger), Event())


def _enter_gone(ledger: "Ledger", name: str) -> None:
    for known in ledger:
        if any(one.id == name and not one.gone for one in known.resources):
            with ledger.entry(known) as receipt:
                for one in receipt.resources:
                    one.gone = one.gone or one.id == name
                ledger.write(receipt)


def _ledger(*, rehearsed: bool = False) -> "Ledger":
    from imagekit.receipt import Ledger  # noqa: PLC0415

    state: Path = state_dir()
    return Ledger(state / "rehearsals" if rehearsed else state)
