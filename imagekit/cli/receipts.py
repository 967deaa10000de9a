"""`imagekit receipts`: what was published, and taking it back."""

import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli.console import AsJson, Verbose, say, state_dir, tell
from imagekit.errors import PublishError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from imagekit.publish.aws.account import Account
    from imagekit.receipt import Ledger

app = typer.Typer(no_args_is_help=True, help="What was published, and where.")

Id = Annotated[str, typer.Argument(metavar="ID", help="A receipt's id or its start, or the id of its AMI.")]


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
    names: Annotated[list[str], typer.Argument(metavar="ID...", help="Receipts' ids, or those of their AMIs.")],
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Deregister the images and delete the snapshots of publications; safe to repeat."""
    from imagekit.publish.aws.undo import told_of, undo  # noqa: PLC0415
    from imagekit.receipt import DESTROYED, now  # noqa: PLC0415

    ledger = _ledger()
    chosen = [ledger.named(name) for name in names]
    account = _account()
    removed = []
    for known in chosen:
        with ledger.entry(known) as receipt:
            gone = undo(account, receipt, ledger)
            receipt.state, receipt.ended = DESTROYED, now()
            ledger.write(receipt)
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


@app.command("sweep")
def sweep(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="12h, 7d, 2w.")] = "7d",
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="REGION", help="Where to look; again for more. Default: where receipts are."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show them.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Remove what unfinished publications left in the account: by receipts, and by imagekit's tags.

    Pending and unused snapshots, and images that have failed; what an image uses is never touched.
    """
    from imagekit.cli.cache import parse_age  # noqa: PLC0415
    from imagekit.publish.aws.undo import orphans, remove  # noqa: PLC0415

    age = timedelta(seconds=parse_age(older_than))
    ledger, account = _ledger(), _account()
    regions = list(dict.fromkeys(region or [*(one.region for one in ledger), *_own(account)]))
    if not regions:
        raise UsageError("no region to look through", hint="--region eu-west-1")
    found = orphans(account, regions, age, ledger)
    for one in found:
        verb = "would remove" if dry_run else "removing"
        tell(f"{verb} {one.kind} {one.id} ({one.region}), {one.made}: {one.why}")
    if not found:
        tell(f"nothing to sweep in {', '.join(regions)}")
    failed: list[PublishError] = []
    for one in () if dry_run else found:
        try:
            remove(account, one.kind, one.id, one.region)
        except PublishError as error:
            failed.append(error)
            continue
        _enter_gone(ledger, one.id)
    if as_json:
        listed = [{"kind": one.kind, "id": one.id, "region": one.region, "why": one.why} for one in found]
        say(json.dumps({"orphans": listed, "removed": not dry_run}))
    else:
        for one in found:
            say(one.id)
    if failed:
        raise failed[0]


def _enter_gone(ledger: "Ledger", name: str) -> None:
    for known in ledger:
        if any(one.id == name and not one.gone for one in known.resources):
            with ledger.entry(known) as receipt:
                for one in receipt.resources:
                    one.gone = one.gone or one.id == name
                ledger.write(receipt)


def _own(account: "Account") -> list[str]:
    return [account.default_region] if account.default_region else []


def _account() -> "Account":
    from imagekit.publish.aws.account import Account  # noqa: PLC0415

    return Account(os.environ, {})


def _ledger(*, rehearsed: bool = False) -> "Ledger":
    from imagekit.receipt import Ledger  # noqa: PLC0415

    state: Path = state_dir()
    return Ledger(state / "rehearsals" if rehearsed else state)
