"""`imagekit unbundle`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imagekit.cli.console import AsJson, Verbose, say
from imagekit.cli.keys import PrivateKey


def unbundle(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest; the parts lie beside it.")],
    private_key: PrivateKey,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="IMAGE|DIR/", help="Where to. Default: ./NAME.raw."),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Give the image of an AMI bundle back, every digest and the signature checked; exit 6 when one is wrong.

    imagekit unbundle app.manifest.xml -o app.raw --private-key pk.pem
    """
    from imagekit.formats import ami  # noqa: PLC0415 -- an extra; and --help need not import it

    own = ami.private_key(ami.read_file(private_key))
    out = Path(output or ".")
    if output is None or output.endswith("/") or out.is_dir():
        out /= f"{manifest.name.removesuffix('.xml').removesuffix('.manifest')}.raw"
    found = ami.unbundle(manifest, out, own)
    if as_json:
        say(json.dumps({"path": str(out), "name": found.name, "user": found.user, "size": found.size}))
    else:
        say(str(out))
