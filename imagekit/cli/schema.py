"""`imagekit schema`."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from imagekit.cli.console import say


class Form(StrEnum):
    """What has a schema."""

    RECIPE = "recipe"
    RUN = "run"
    EVENTS = "events"


def schema(
    form: Annotated[
        Form,
        typer.Argument(metavar="[recipe|run|events]", help="Recipes, build --report, or --progress json."),
    ] = Form.RECIPE,
) -> None:
    """Print a JSON Schema: the recipe's, that of the record of a run, or that of a line of --progress json."""
    if form is Form.RECIPE:
        from imagekit.recipe import schema as recipe_schema  # noqa: PLC0415 -- --help need not import pydantic

        found = recipe_schema()
    else:
        from imagekit.run.schema import event_schema, run_schema  # noqa: PLC0415

        found = run_schema() if form is Form.RUN else event_schema()
    say(json.dumps(found, indent=2))
