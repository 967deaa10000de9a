"""The published schemas: those of the types, and true of what a real build says."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from imagekit.events import Event, RunFailed, event_name, to_json
from imagekit.run.schema import event_schema, run_schema
from tests.cli.conftest import Cli
from tests.test_listeners import EVENTS

EVENT = jsonschema.Draft202012Validator(event_schema())


@pytest.mark.parametrize("name, schema", [("run.json", run_schema()), ("events.json", event_schema())])
def test_the_shipped_schema_is_that_of_the_types(name: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(files("imagekit.run").joinpath(name).read_text()) == schema, "run: make docs"


def test_each_kind_of_event_has_a_schema() -> None:
    names = {event_name(kind) for kind in get_args(Event)}
    assert set(event_schema()["$defs"]) == names
    assert {ref["$ref"] for ref in event_schema()["oneOf"]} == {f"#/$defs/{name}" for name in names}


def test_it_takes_events_and_nothing_else() -> None:
    every = (*EVENTS, RunFailed("no room", "12 KiB", "", 75))
    assert {type(event) for event in every} == set(get_args(Event)), "each kind is tried"
    for event in every:
        line = json.loads(json.dumps(to_json(event)))
        EVENT.validate(line)
        assert not EVENT.is_valid({**line, "more": 1})
        assert not EVENT.is_valid({**line, "event": "unheard-of"})
        assert not EVENT.is_valid({name: value for name, value in line.items() if name != "event"})


def test_what_a_real_build_says(script: Cli, hello: Path) -> None:
    done = script(
        "build", hello, "-t", "xen", "-t", "ebs", "-o", "out/", "--progress", "json", "--report", "run.json"
    )
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert {line["event"] for line in lines} == {"step-started", "step-done", "placed"}
    for line in lines:
        EVENT.validate(line)
    made = [line for line in lines if line["event"] == "step-done"]
    assert all(line["machine"] and line["begun"] for line in made)


@pytest.mark.parametrize("form, title", [("run", "imagekit run"), ("events", "imagekit event"), ("recipe", None)])
def test_they_are_printed(cli: Cli, form: str, title: str | None) -> None:
    schema = json.loads(cli("schema", form).out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert title in {None, schema["title"]}
