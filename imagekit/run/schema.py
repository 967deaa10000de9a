"""JSON Schemas of the record of a run, and of the events that `--progress json` writes, made from their types."""

from dataclasses import fields
from typing import Any, cast, get_args, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from imagekit.artifact import Artifact
from imagekit.events import Event, Placed, event_name
from imagekit.run.record import Run

_DIALECT = GenerateJsonSchema.schema_dialect


def run_schema() -> dict[str, Any]:
    """Return the schema of the record of a run."""
    schema = Run.model_json_schema(mode="serialization")
    return {"$schema": _DIALECT, **schema, "title": "imagekit run"}


def event_schema() -> dict[str, Any]:
    """Return the schema of one line of `--progress json`."""
    kinds = {event_name(kind): _fields(kind) for kind in get_args(Event)}
    return {
        "$schema": _DIALECT,
        "title": "imagekit event",
        "description": "One line of `imagekit build --progress json`, on stderr.",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds],
        "$defs": kinds,
    }


def _fields(kind: type) -> dict[str, Any]:
    """Return the schema of one kind of event; of an artifact in its place, the artifact's fields stand in it."""
    shown = Artifact if kind is Placed else kind
    hints = get_type_hints(shown)
    properties = {
        item.name: TypeAdapter(hints[item.name]).json_schema(mode="serialization")
        for item in fields(cast("Any", shown))
    }
    return {
        "description": (kind.__doc__ or "").split("\n\n")[0],
        "type": "object",
        "properties": {"event": {"const": event_name(kind)}, **properties},
        "required": ["event", *properties],
        "additionalProperties": False,
    }
