"""`imagekit convert`."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.console import AsJson, Verbose, say


class To(StrEnum):
    """Values of --to."""

    RAW = "raw"
    VHD = "vhd"


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A raw disk, a VHD, an XVA, an AMI bundle's manifest.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Its ending tells the form: .raw, .img, .vhd.")],
    to: Annotated[To | None, typer.Option("--to", help="The form, whatever the ending.")] = None,
    parent: Annotated[
        Path | None,
        typer.Option(metavar="FILE.vhd", help="Make a differencing VHD over this one, which lies beside it."),
    ] = None,
    private_key: asked.PrivateKey = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Turn a disk into a raw file or a VHD, its holes kept; the same bytes every time.

    imagekit convert app.raw app.vhd
    """
    from imagekit import convert as converting  # noqa: PLC0415 -- --help need not import it
    from imagekit.recipe import epoch  # noqa: PLC0415
    from imagekit.unwrap import Form  # noqa: PLC0415

    form = Form(to.value) if to else converting.form_by_name(out)
    converting.convert(source, out, form, epoch=epoch(os.environ), parent=parent, private_key=private_key)
    if as_json:
        say(json.dumps({"path": str(out), "form": form.value, "size": out.stat().st_size}))
    else:
        say(str(out))
