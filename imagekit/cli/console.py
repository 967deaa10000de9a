"""What the commands share: options, where the cache lies, and words on stderr."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imagekit.errors import ImagekitError


@dataclass
class Settings:
    """How much to say, set by -v of whichever command runs; and whether a signal has ended it.

    With `events`, stderr is one JSON object a line, the error that ends it all among them. A first SIGTERM only
    says `draining` where somebody `drains`: lets what runs end, and begins no more.
    """

    verbosity: int = 0
    ending: bool = False
    drains: bool = False
    draining: bool = False
    events: bool = False


settings = Settings()


class Progress(StrEnum):
    """Values of --progress."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Workers(StrEnum):
    """Values of --workers."""

    AUTO = "auto"
    THREADS = "threads"
    PROCESSES = "processes"


def _set_verbosity(count: int) -> int:
    settings.verbosity = count
    return count


def _set_progress(progress: Progress) -> Progress:
    settings.events = progress is Progress.JSON
    return progress


Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, callback=_set_verbosity, help="Say why; -vv: tracebacks, too."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Shown = Annotated[
    Progress,
    typer.Option("--progress", callback=_set_progress, help="How to tell what goes on, on stderr."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def cache_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the cache lies: IMAGEKIT_CACHE_DIR, else XDG_CACHE_HOME/imagekit."""
    named = environment.get("IMAGEKIT_CACHE_DIR")
    from imagekit.store import default_root  # noqa: PLC0415 -- --help need not import it

    return Path(named) if named else default_root()


def state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where proofs and receipts lie: IMAGEKIT_STATE_DIR, else XDG_STATE_HOME/imagekit."""
    import platformdirs  # noqa: PLC0415 -- --help need not import it

    named = environment.get("IMAGEKIT_STATE_DIR")
    return Path(named) if named else platformdirs.user_state_path("imagekit", appauthor=False)


def say(text: str) -> None:
    """Print the result, on stdout."""
    typer.echo(text)


def tell(text: str) -> None:
    """Print words that are not the result, on stderr."""
    typer.echo(text, err=True)


def complain(error: ImagekitError) -> None:
    """Print the error that ends it all, on stderr; its first words red on a terminal that takes colours."""
    if settings.events:
        from imagekit.events import RunFailed, to_json  # noqa: PLC0415 -- --help need not import it

        tell(json.dumps(to_json(RunFailed(error.brief, error.details, error.hint, int(error.exit_code)))))
        return
    text = str(error)
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    typer.echo(typer.style("error:", fg="red", bold=True) + f" {text}" if coloured else f"error: {text}", err=True)
