"""`imagekit inspect`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.console import AsJson, Verbose, say
from imagekit.errors import UsageError


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A kernel, a raw disk, a VHD, an XVA, a bundle's manifest.")
    ],
    private_key: asked.PrivateKey = None,
    as_json: AsJson = False,
    html: Annotated[bool, typer.Option("--html", help="Print one self-contained page on stdout.")] = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Explain a kernel or an image: what it is, where it boots, and why not elsewhere."""
    from imagekit.inspect import html as page  # noqa: PLC0415 -- --help need not import it
    from imagekit.inspect import inspect as explain  # noqa: PLC0415
    from imagekit.inspect import text  # noqa: PLC0415

    if as_json and html:
        raise UsageError("--json and --html are two forms of one answer: choose one")
    report = explain(path, private_key=private_key)
    if as_json:
        say(json.dumps(report.to_json()))
    elif html:
        say(page.render(report))
    else:
        say(text.render(report))
