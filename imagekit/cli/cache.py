"""`imagekit cache`."""

import json
import re
import time
from typing import Annotated

import typer

from imagekit.cli.console import AsJson, cache_dir, say, tell
from imagekit.cli.shared import unread
from imagekit.errors import UsageError, VerificationError

app = typer.Typer(
    help="Look after the cache.",
    rich_markup_mode=None,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@app.command("ls")
def ls(as_json: AsJson = False) -> None:
    """List the results: key, step, digest, size."""
    from imagekit.listeners import aligned, size  # noqa: PLC0415 -- --help need not import it
    from imagekit.store import Store  # noqa: PLC0415

    store = Store(cache_dir())
    records = list(store.records())
    if as_json:
        rows = [
            {"key": key, "step": record.step, "digest": record.digest, "size": record.length}
            for key, record in records
        ]
        say(json.dumps({"path": str(store.root), "on_disk": store.size(), "results": rows}))
        return
    lines = [(key[:16], record.step, record.digest[:16], size(record.length)) for key, record in records]
    say(aligned([("key", "step", "digest", "size"), *lines], right=(3,)))
    tell(f"{store.root}: {len(records)} results, {size(store.size())} on disk")


@app.command("verify")
def verify() -> None:
    """Hash every result in full; the damaged ones are taken away, and the exit code is 6."""
    from imagekit.store import Store  # noqa: PLC0415

    checked = list(Store(cache_dir()).verify())
    damaged = [damage for _, damage in checked if damage is not None]
    for damage in damaged:
        tell(f"{damage.digest[:16]}: damaged (its bytes are {damage.found[:16]}); removed")
    say(f"{len(checked)} blobs, {len(damaged)} damaged")
    if damaged:
        raise VerificationError(
            f"{len(damaged)} of {len(checked)} cached results were damaged",
            hint="they are removed, and made again when they are needed; is the disk sound?",
        )


@app.command("prune")
def prune(
    keep: Annotated[str | None, typer.Option(metavar="SIZE", help="Until so much is left: 1GiB.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="What was not used for so long: 12h, 7d, 2w.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    store_url: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="In the shared store there, not in the cache.")
    ] = None,
) -> None:
    """Remove results, the longest unused first."""
    from imagekit.listeners import size  # noqa: PLC0415
    from imagekit.recipe import parse_size  # noqa: PLC0415
    from imagekit.store import Store  # noqa: PLC0415

    if keep is None and older_than is None and not everything:
        raise UsageError("say what to remove", hint="--keep 1GiB, --older-than 7d or --all")
    try:
        keep_bytes = 0 if everything else parse_size(keep) if keep is not None else None
    except ValueError as error:
        raise UsageError(f"--keep {keep}: {error}") from None
    age = parse_age(older_than) if older_than is not None else None
    count, freed = (
        Store(cache_dir()).prune(keep_bytes=keep_bytes, max_age=age)
        if store_url is None
        else unread(store_url).prune(keep_bytes=keep_bytes, max_age=age)
    )
    say(f"{count} blobs removed, {size(freed)} freed")


def parse_age(age: str) -> float:
    """Return the seconds of an age such as 7d; UsageError."""
    match = re.fullmatch(r"(\d+)([smhdw])", age)
    if match is None:
        raise UsageError(f"--older-than {age}: no age", hint="a number and s, m, h, d or w: 7d")
    seconds = int(match[1]) * _AGES[match[2]]
    if seconds > time.time():
        raise UsageError(f"--older-than {age}: before 1970")
    return seconds
