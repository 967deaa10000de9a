"""The options that name a shared store, and the store that they make."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli.console import cache_dir
from imagekit.errors import UsageError

if TYPE_CHECKING:
    from imagekit.store import Store
    from imagekit.store.shared import Shared

Url = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="IMAGEKIT_STORE",
        help="A shared store: s3://BUCKET/PREFIX or file:///PATH.",
    ),
]
Trusted = Annotated[
    list[Path] | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        envvar="IMAGEKIT_TRUST",
        help="Public keys (Ed25519, PEM) of those whose results in the store are believed; again for more.",
    ),
]
Unsigned = Annotated[
    bool, typer.Option("--trust-unsigned", help="Believe whoever can write to a store that is a folder.")
]
Required = Annotated[
    bool, typer.Option("--store-required", help="Fail when the store does; else results are made here.")
]
Writer = Annotated[
    Path | None,
    typer.Option(
        "--store-key",
        metavar="FILE",
        envvar="IMAGEKIT_STORE_KEY",
        help="The private key (Ed25519, PEM, mode 0600) that signs results for the store. Without: only read.",
    ),
]
_SECRET = "IMAGEKIT_STORE_KEY_PEM"  # noqa: S105 -- the name of it
_UNSIGNED = "IMAGEKIT_TRUST_UNSIGNED"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for of a shared store."""

    url: str | None = None
    trusted: tuple[Path, ...] = ()
    unsigned: bool = False
    required: bool = False
    writer: Path | None = None


def of_environment() -> Wanted:
    """Return what the environment asks for, for commands without these options."""
    names = os.environ.get("IMAGEKIT_TRUST", "").split()
    key = os.environ.get("IMAGEKIT_STORE_KEY")
    return Wanted(
        os.environ.get("IMAGEKIT_STORE") or None, tuple(map(Path, names)), writer=Path(key) if key else None
    )


def open_store(wanted: Wanted | None = None) -> "Store":
    """Return the local store, and behind it the shared one that is wanted; without a wish, the environment's."""
    from imagekit.store import Store  # noqa: PLC0415 -- --help need not import it

    return Store(cache_dir(), shared(of_environment() if wanted is None else wanted))


def shared(wanted: Wanted) -> "Shared | None":
    """Return the shared store that is wanted, None where none is; UsageError."""
    if not wanted.url:
        return None
    from imagekit.store.backend import backend  # noqa: PLC0415 -- most builds have none
    from imagekit.store.shared import Shared  # noqa: PLC0415
    from imagekit.store.trust import trust  # noqa: PLC0415

    place = backend(wanted.url)
    unsigned = wanted.unsigned or os.environ.get(_UNSIGNED) == "1"
    if unsigned and not place.private:
        raise UsageError(
            f"{wanted.url}: results of a bucket are believed when they are signed only", hint="--trust FILE"
        )
    found = trust(wanted.trusted, wanted.writer, os.environ.get(_SECRET), unsigned=unsigned)
    if not (found.believed or unsigned):
        raise UsageError(
            f"nothing in the store {wanted.url} could be believed",
            hint="--trust FILE names the public keys of those who write to it",
        )
    return Shared(place, found, required=wanted.required)


def unread(url: str) -> "Shared":
    """Return a shared store of which nothing is believed: to be looked after."""
    from imagekit.store.backend import backend  # noqa: PLC0415 -- as above
    from imagekit.store.shared import Shared  # noqa: PLC0415
    from imagekit.store.trust import Trust  # noqa: PLC0415

    return Shared(backend(url), Trust(), required=True)
