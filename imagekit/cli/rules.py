"""`imagekit make-rules`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagekit.cli import asked
from imagekit.cli.console import Verbose, cache_dir, say, tell
from imagekit.cli.goods import is_published

if TYPE_CHECKING:
    from imagekit.prepare import Prepared
    from imagekit.rules import Rule


def make_rules(
    paths: asked.Paths,
    target: asked.Targets = None,
    into: Annotated[
        str, typer.Option("--into", metavar="DIR", help="Where the artifacts go. Default: here.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The fragment. Default: stdout.")
    ] = None,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Write a Makefile fragment: a rule for each artifact, all, clean, prove-NAME, publish-NAME. For GNU make 4.3.

    imagekit make-rules recipes/*.toml -o images.mk
    """
    from imagekit.place import unwritten  # noqa: PLC0415 -- --help need not import it
    from imagekit.rules import fragment, rules_of  # noqa: PLC0415
    from imagekit.run import write  # noqa: PLC0415

    folder = f"{into.rstrip('/')}/" if into else "./"
    rules: list[Rule] = []
    for path in paths:
        prepared = _prepared(path, target, folder)
        rules += rules_of(path, prepared, folder, _published(prepared))
        for skipped in prepared.skipped:
            tell(f"{skipped.image}: not for {skipped.target}: {skipped.reason}")
    content = fragment(rules, str(output) if output else "images.mk")
    if output is None:
        say(content.rstrip("\n"))
        return
    try:
        write(output, os.fsencode(content))
    except OSError as error:
        raise unwritten(error, output) from error


def _prepared(path: Path, target: list[str] | None, folder: str) -> "Prepared":
    from imagekit.build import Runner  # noqa: PLC0415
    from imagekit.prepare import prepare  # noqa: PLC0415
    from imagekit.store import Store  # noqa: PLC0415

    store = Store(cache_dir())
    with store.in_use():
        return prepare(asked.request([path], target, folder, None), Runner(store), os.environ, making=False)


def _published(prepared: "Prepared") -> dict[tuple[str, str], bool]:
    """Return of each image and target that is known whether its artifact is uploaded."""
    return {
        (output.image, output.target): is_published(output.target, prepared.images[output.image])
        for output in prepared.plan.outputs
    }
