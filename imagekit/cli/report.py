"""`imagekit report`."""

from pathlib import Path
from typing import Annotated

import typer

from imagekit.cli.console import AsJson, Verbose, say, state_dir


def report(
    path: Annotated[
        Path | None, typer.Argument(metavar="[RUN.json]", help="Of build --report. Default: the last run.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The page. Default: stdout.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,  # noqa: ARG001 -- its callback acts
) -> None:
    """Draw a run as one self-contained page: what was made, from what, where the time went, proofs, ids.

    imagekit report -o report.html
    """
    from imagekit.place import unwritten  # noqa: PLC0415 -- --help need not import it
    from imagekit.report import complete, render  # noqa: PLC0415
    from imagekit.run import latest, read, write  # noqa: PLC0415

    run = complete(read(path or latest(state_dir())), state_dir())
    content = run.to_bytes().decode() if as_json else render(run)
    if output is None:
        say(content.rstrip("\n"))
        return
    try:
        write(output, content.encode())
    except OSError as error:
        raise unwritten(error, output) from error
    say(str(output))
