"""`imagekit verify`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.console import AsJson, Verbose, say, tell


def verify(
    path: Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact's main file, or its sidecar.")],
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", metavar="TARGET", help="What it was built for, without a sidecar."),
    ] = None,
    guestfs: Annotated[
        bool,
        typer.Option("--guestfs/--no-guestfs", help="Have a real Linux kernel mount it, too (half a minute)."),
    ] = False,
    private_key: asked.PrivateKey = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Read an artifact back with tools other than those that made it; exit 6 on the first lie."""
    from imagekit import verify as verifying  # noqa: PLC0415 -- --help need not import it

    checks = []
    for check in verifying.verify(path, target=target, guestfs=guestfs, private_key=private_key):
        checks.append({"check": check.name, "verdict": check.verdict, "seen": check.seen})
        if not as_json:
            tell(f"{check.verdict:7}  {check.name}: {check.seen}")
    if as_json:
        say(json.dumps({"path": str(path), "checks": checks}))
    else:
        skipped = sum(check["verdict"] == "skipped" for check in checks)
        say(f"{path}: verified, {len(checks) - skipped} checks" + (f", {skipped} skipped" if skipped else ""))
