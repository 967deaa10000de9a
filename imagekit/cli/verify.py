"""`imagekit verify`."""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.console import AsJson, Verbose, say, tell
from imagekit.errors import UsageError

if TYPE_CHECKING:
    from imagekit.verify import Check


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
    signed_by: Annotated[
        Path | None,
        typer.Option("--signed-by", metavar="FILE", help="The public key that has signed its provenance."),
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make it again from its statement, and compare the bytes.")
    ] = False,
    input_dir: Annotated[
        list[Path] | None,
        typer.Option(
            "--input-dir", metavar="DIR", help="--rebuild: where the inputs lie. Default: here, and beside it."
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Read an artifact back with tools other than those that made it; exit 6 on the first lie."""
    from imagekit import verify as verifying  # noqa: PLC0415 -- --help need not import it

    if input_dir and not rebuild:
        raise UsageError("--input-dir says where the inputs of a build lie", hint="it goes with --rebuild")
    checks = []
    known = _trail(path, signed_by, [*(input_dir or (Path(), path.parent))] if rebuild else None, private_key)
    for check in chain(known, verifying.verify(path, target=target, guestfs=guestfs, private_key=private_key)):
        checks.append({"check": check.name, "verdict": check.verdict, "seen": check.seen})
        if not as_json:
            tell(f"{check.verdict:7}  {check.name}: {check.seen}")
    if as_json:
        say(json.dumps({"path": str(path), "checks": checks}))
    else:
        skipped = sum(check["verdict"] == "skipped" for check in checks)
        say(f"{path}: verified, {len(checks) - skipped} checks" + (f", {skipped} skipped" if skipped else ""))


def _trail(
    path: Path, signed_by: Path | None, folders: Sequence[Path] | None, private_key: Path | None
) -> "Iterator[Check]":
    """Yield the checks of what lies beside an artifact; with `folders`, that of making it again."""
    from imagekit.artifact import SUFFIX  # noqa: PLC0415 -- --help need not import it
    from imagekit.provenance import signing  # noqa: PLC0415

    main = path.with_name(path.name.removesuffix(SUFFIX))
    yield from signing.check_sums(main)
    if signed_by is not None:
        yield from signing.check(main, signed_by)
    if folders is not None:
        from imagekit.provenance.rebuild import rebuild  # noqa: PLC0415 -- what builds takes its time

        keys = {"EC2_PRIVATE_KEY": str(private_key)} if private_key else {}
        yield from rebuild(main, folders, {**os.environ, **keys})
