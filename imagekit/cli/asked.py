"""The options that say what to build, and what opens it: more than one command has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from imagekit.prepare import Request

Paths = Annotated[
    list[Path], typer.Argument(metavar="KERNEL|RECIPE...", help="Kernels (app.xen) and recipes (app.toml).")
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help="A system to build for, or all; again for more. In place of the recipe's targets. Default: xen.",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE|DIR/",
        help="Where to. Default: ./NAME.TARGET.EXT; ami: ./NAME.manifest.xml.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any key of the recipe: filesystem.type=ext4. Again for more."
    ),
]
Cmdline = Annotated[str | None, typer.Option(help="The kernel's command line.")]
Memory = Annotated[str | None, typer.Option(metavar="SIZE", help="The guest's memory: 64MiB.")]
Layout = Annotated[str | None, typer.Option(metavar="auto|plain|mbr|gpt", help="The disk's layout.")]
Size = Annotated[str | None, typer.Option(metavar="SIZE", help="The disk's size: 2GiB. Default: what is needed.")]
PrivateKey = Annotated[
    Path | None,
    typer.Option(
        "--private-key", metavar="FILE", envvar="EC2_PRIVATE_KEY", help="That an AMI bundle was made with, PEM."
    ),
]
Boot = Annotated[str | None, typer.Option(metavar="auto|pv|pvh|hvm", help="The kind of guest.")]


def request(
    paths: Sequence[Path],
    targets: Sequence[str] | None,
    out: str | None,
    sets: Sequence[str] | None,
    *,
    keep_going: bool = False,
    **flags: str | None,
) -> "Request":
    """Return the request that the options make; a flag is short for a key of the recipe."""
    from imagekit.prepare import Request  # noqa: PLC0415 -- --help need not import what builds
    from imagekit.recipe import setting  # noqa: PLC0415

    keys = {"layout": "disk.layout", "size": "disk.size"}
    settings: dict[str, object] = {
        keys.get(name, name): value for name, value in flags.items() if value is not None
    }
    settings |= dict(map(setting, sets or ()))
    return Request(paths, targets or (), out, settings, keep_going=keep_going)
