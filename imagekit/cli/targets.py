"""`imagekit targets`."""

import json

from imagekit.cli.console import AsJson, say


def targets(as_json: AsJson = False) -> None:
    """List the systems that images are built for."""
    from imagekit import targets as known  # noqa: PLC0415 -- --help need not import it
    from imagekit.listeners import aligned  # noqa: PLC0415

    found = {name: known.load(name) for name in known.names()}
    if as_json:
        content = {
            name: {"summary": target.SUMMARY, "extension": target.EXTENSION} for name, target in found.items()
        }
        say(json.dumps(content))
    else:
        say(aligned([(name, target.EXTENSION, target.SUMMARY) for name, target in found.items()]))
