"""The options that name a shared store, and the store that they make."""

import os
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli.console import cache_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imagekit.build import Runner
    from imagekit.store import Store
    from imagekit.store.access import Access
    from imagekit.store.shared import Shared

Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="URL",
        envvar="IMAGEKIT_SCHEDULER",
        help="Have the workers of a Dask scheduler run the steps: tcp://HOST:8786. Needs --store.",
    ),
]
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
_UNSIGNED = "IMAGEKIT_TRUST_UNSIGNED"


def wanted(
    url: str | None,
    trusted: Sequence[Path] | None = None,
    *,
    unsigned: bool = False,
    required: bool = False,
    writer: Path | None = None,
) -> "Access | None":
    """Return what the options ask for, None for no shared store."""
    from imagekit.store.access import Access  # noqa: PLC0415 -- --help need not import it

    if not url:
        return None
    unsigned = unsigned or os.environ.get(_UNSIGNED) == "1"
    return Access(
        url, tuple(map(_absolute, trusted or ())), unsigned, required, _absolute(writer) if writer else None
    )


def of_environment() -> "Access | None":
    """Return what the environment asks for, for commands without these options."""
    names = os.environ.get("IMAGEKIT_TRUST", "").split()
    key = os.environ.get("IMAGEKIT_STORE_KEY")
    return wanted(os.environ.get("IMAGEKIT_STORE"), [*map(Path, names)], writer=Path(key) if key else None)


def open_store(access: "Access | None") -> "Store":
    """Return the local store, and behind it the shared one, if there is one; UsageError."""
    from imagekit.store import Store  # noqa: PLC0415 -- --help need not import it

    return Store(cache_dir(), access.open() if access is not None else None)


def _absolute(path: Path) -> str:
    return str(path.absolute())  # worker processes have folders of their own


@contextmanager
def elsewhere(scheduler: str | None, runner: "Runner") -> "Iterator[None]":
    """Have a runner's steps run by the workers of a scheduler, if there is one."""
    if not scheduler:
        yield
        return
    from imagekit.farm import Dask  # noqa: PLC0415 -- an extra's, and half a second

    dask = Dask(scheduler, runner.store, runner.tell)
    runner.elsewhere = dask
    try:
        yield
    except BaseException:
        dask.stop()
        raise
    finally:
        dask.close()


def unread(url: str) -> "Shared":
    """Return a shared store of which nothing is believed: to be looked after."""
    from imagekit.store.backend import backend  # noqa: PLC0415 -- as above
    from imagekit.store.shared import Shared  # noqa: PLC0415
    from imagekit.store.trust import Trust  # noqa: PLC0415

    return Shared(backend(url), Trust(), required=True)
