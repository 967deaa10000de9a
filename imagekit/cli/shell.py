"""`imagekit shell`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.console import Verbose, tell


def shell(
    path: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="An artifact, a raw disk, a VHD, an XVA, a bundle's manifest.")
    ],
    command: Annotated[
        list[str] | None,
        typer.Option("--command", "-c", metavar="COMMAND", help="Run this, and end. May be repeated."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write/--read-only", help="Change the image: raw ones only; its sidecar then lies.")
    ] = False,
    private_key: asked.PrivateKey = None,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Look into an image by guestfish: its root is mounted, and a real Linux reads it.

    imagekit shell app.raw -c 'll /boot'
    """
    from imagekit import shell as guestfish  # noqa: PLC0415 -- --help need not import it

    with guestfish.opened(path, write=write, private_key=private_key) as image:
        if write and image.claims is not None:
            tell(
                f"what you write makes the sidecar of {path.name} a lie: verify and publish will refuse it, "
                "until it is built again"
            )
        guestfish.run(image, command or (), write=write, terminal=os.environ.get("TERM", "dumb"))
