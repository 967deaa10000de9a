"""`imagekit schema`."""

import json

from imagekit.cli.console import say


def schema() -> None:
    """Print the recipe's JSON Schema."""
    from imagekit.recipe import schema as recipe_schema  # noqa: PLC0415 -- --help need not import pydantic

    say(json.dumps(recipe_schema(), indent=2))
